/**
 * Ends all writing with the first that fails. Nothing is ever retried: after a failed sync the kernel may
 * call the same pages clean the next time, and what looks written is not.
 */
export class FailStop {
  #failure: { readonly reason: unknown } | null = null;

  get failed(): boolean {
    return this.#failure !== null;
  }

  /** Does something that must become durable. Rejects with the first failure, this one or an earlier one. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#failure !== null) throw this.#failure.reason;
    try {
      return await work();
    } catch (reason) {
      this.#failure ??= { reason };
      throw this.#failure.reason;
    }
  }
}
