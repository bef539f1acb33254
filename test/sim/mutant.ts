/** A known bug: one place in one file, changed. */
export interface Mutant {
  /** Of docs/raft.md; "leases": decision 0026. */
  readonly item: number | "leases";
  readonly name: string;
  readonly file: string;
  /** Stands once in the file. */
  readonly find: string;
  readonly replace: string;
  /** Is found fast: also planted by `npm test`. */
  readonly quick?: true;
  /** Why the simulator does not find it: another rule holds all the same, or it is too rare. It is planted all the same. */
  readonly unfound?: string;
}
