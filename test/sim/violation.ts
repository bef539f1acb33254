/** What must hold did not; it ends the run with its seed. */
export class Violation extends Error {
  override name = "Violation";
  readonly invariant: string;
  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}
