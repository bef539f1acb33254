/** A known bug: one place in one file, changed. */
export interface Mutant {
  /** Of docs/raft.md. */
  readonly item: number;
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
