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
  /** Why nothing can come of it: it is planted, and must break nothing. */
  readonly harmless?: string;
}
