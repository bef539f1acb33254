/** A line of one task's output, with where it came from. */
export interface SourceLine<Source> {
  readonly source: Source;
  readonly stream: "stdout" | "stderr";
  /** ISO 8601 UTC. */
  readonly time: string;
  readonly text: string;
}

/**
 * Merges streams that are each in the order of time into one that is: holds one line of each. Lines
 * of the same time come in the order of the streams.
 */
export async function* mergeByTime<Source>(
  streams: readonly AsyncIterator<SourceLine<Source>, void>[],
): AsyncGenerator<SourceLine<Source>> {
  const heads = await Promise.all(
    streams.map(async (stream) => ({ stream, line: await nextLine(stream) })),
  );
  for (;;) {
    let first: { readonly head: (typeof heads)[number]; readonly line: SourceLine<Source> } | null =
      null;
    for (const head of heads) {
      const { line } = head;
      if (line !== null && (first === null || line.time < first.line.time)) first = { head, line };
    }
    if (first === null) return;
    yield first.line;
    first.head.line = await nextLine(first.head.stream);
  }
}

async function nextLine<Source>(
  stream: AsyncIterator<SourceLine<Source>, void>,
): Promise<SourceLine<Source> | null> {
  const next = await stream.next();
  return next.done === true ? null : next.value;
}

/**
 * Where a stream of lines goes on after a broken connection: from the time of the last line, without
 * those lines of that very time that came already.
 */
export class ResumePoint {
  #time: string | null = null;
  #count = 0;
  #skip = 0;

  /** From when on to ask; null: nothing came yet. */
  get since(): string | null {
    return this.#time;
  }

  /** To be called when the stream starts again. */
  restart(): void {
    this.#skip = this.#count;
  }

  /** Whether a line is new; to be called once for each, in their order. */
  accept(time: string): boolean {
    if (time === this.#time && this.#skip > 0) {
      this.#skip -= 1;
      return false;
    }
    this.#skip = 0;
    this.#count = time === this.#time ? this.#count + 1 : 1;
    this.#time = time;
    return true;
  }
}
