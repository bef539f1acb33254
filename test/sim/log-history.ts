import type { Raft } from "../../consensus/raft.ts";
import type { Entry } from "../../consensus/message.ts";
import type { NodeId } from "../../state/ids.ts";
import { Violation } from "./violation.ts";

/** What one node's log was when it was last looked at. */
interface Looked {
  readonly life: number;
  readonly generation: number;
  readonly last: number;
}

/**
 * Every entry that was ever in any log, by index and term, with its content and the term of the one before. As each
 * log that holds it must agree on both, two logs that agree at an index agree before it (log matching).
 */
export class LogHistory {
  readonly #entries: Map<string, { entry: Entry; content: string; prevTerm: number }> = new Map();
  readonly #looked: Map<NodeId, Looked> = new Map();
  /** By index: the entry's term, and the term of the node that knew first that it is committed. */
  readonly #committed: Map<number, { term: number; inTerm: number }> = new Map();

  /** The last index that any node knew to be committed. */
  lastCommitted = 0;
  /** The bytes of data in the largest entry so far. */
  largestEntry = 0;

  /** Looks at what is new in a log. */
  see(host: NodeId, life: number, raft: Raft): void {
    const looked = this.#looked.get(host);
    const { generation, lastIndex, base } = raft;
    const isSame = looked?.life === life && looked.generation === generation;
    if (isSame && looked.last === lastIndex) return;
    const first = Math.max(isSame ? looked.last + 1 : 1, base.index + 1);
    if (first <= lastIndex) {
      let prevTerm = raft.termAt(first - 1) ?? 0;
      for (const entry of raft.entriesFrom(first)) {
        this.#check(host, entry, prevTerm);
        prevTerm = entry.term;
      }
    }
    this.#looked.set(host, { life, generation, last: lastIndex });
  }

  #check(host: NodeId, entry: Entry, prevTerm: number): void {
    const { index, term, kind, data } = entry;
    const key = `${index}/${term}`;
    const content = `${kind} ${data.length} ${sumOf(data)}`;
    const known = this.#entries.get(key);
    if (known === undefined) {
      this.largestEntry = Math.max(this.largestEntry, data.length);
      this.#entries.set(key, { entry, content, prevTerm });
    } else if (known.content !== content || known.prevTerm !== prevTerm) {
      throw new Violation("log matching", `${host} has another entry ${key}, or after another`);
    }
  }

  /** An index is committed somewhere. Returns whether it is news; what was committed once never changes. */
  commit(host: NodeId, index: number, term: number, inTerm: number): boolean {
    const known = this.#committed.get(index);
    if (known === undefined) {
      this.lastCommitted = Math.max(this.lastCommitted, index);
      this.#committed.set(index, { term, inTerm });
      return true;
    }
    if (known.term !== term) {
      const text = `${host} commits index ${index} of term ${term}, it was term ${known.term}`;
      throw new Violation("committed is immutable", text);
    }
    return false;
  }

  /** What was committed, from the first entry up to `last`. */
  *committed(last: number): Generator<Entry> {
    for (let index = 1; index <= last; index++) {
      const found = this.#entries.get(`${index}/${this.#committed.get(index)?.term}`);
      if (found === undefined) throw new Violation("committed is kept", `nobody has ${index}`);
      yield found.entry;
    }
  }

  /** A new leader holds everything that was committed in earlier terms than its own. */
  complete(host: NodeId, raft: Raft): void {
    for (const [index, { term, inTerm }] of this.#committed) {
      if (inTerm >= raft.term) continue;
      if (index <= raft.base.index || raft.termAt(index) === term) continue;
      const text = `${host} leads term ${raft.term} without the committed entry ${index}/${term}`;
      throw new Violation("leader completeness", text);
    }
  }
}

function sumOf(data: Uint8Array): number {
  let sum = 0x811c9dc5;
  for (const byte of data) sum = Math.imul(sum ^ byte, 0x01000193);
  return sum >>> 0;
}
