import type { Entry, Message } from "../consensus/message.ts";
import type { MemberChange, NodeMessage, SessionSet } from "./core/message.ts";
import { messageShape } from "./wire-shapes.ts";

/**
 * The bytes between nodes. A frame is one message: a kind byte, then for Raft a fixed binary layout (big
 * endian; numbers as float64, exact up to 2^53), for everything else JSON in UTF-8. `decodeMessage` is the
 * gate: what it lets through has the right shape, so that the core can trust its types.
 */

const RAFT = 1;
const JSON_MESSAGE = 2;

const RAFT_KINDS = [
  "append",
  "append-reply",
  "heartbeat",
  "heartbeat-reply",
  "pre-vote",
  "vote",
  "pre-vote-reply",
  "vote-reply",
  "snapshot",
  "timeout-now",
] as const satisfies readonly Message["kind"][];

const ENTRY_HEADER_BYTES = 8 + 1 + 4;
const ENTRY_KINDS = ["normal", "conf"] as const satisfies readonly Entry["kind"][];

const text = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { fatal: true });

export function encodeMessage(message: NodeMessage): Uint8Array {
  if (message.kind === "raft") return encodeRaft(message.clusterId, message.message);
  if (message.kind === "session-set" && message.members !== null)
    return encodeSet(message, message.members);
  return jsonFrame([text.encode(JSON.stringify(message))]);
}

/** A manager tells many the same of the members: that part of a set, most of it, becomes bytes once. */
const memberBytes = new WeakMap<MemberChange, Uint8Array>();

function bytesOf(members: MemberChange): Uint8Array {
  const known = memberBytes.get(members) ?? text.encode(JSON.stringify(members));
  memberBytes.set(members, known);
  return known;
}

function encodeSet(set: SessionSet, members: MemberChange): Uint8Array {
  // What is undefined is left out.
  const rest = JSON.stringify({ ...set, members: undefined });
  const begin = text.encode(`${rest.slice(0, -1)},"members":`);
  return jsonFrame([begin, bytesOf(members), text.encode("}")]);
}

function jsonFrame(parts: readonly Uint8Array[]): Uint8Array {
  const frame = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 1));
  frame[0] = JSON_MESSAGE;
  let at = 1;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/** The message in a frame; null when it is not one of ours, whatever else it may be. Never throws. */
export function decodeMessage(frame: Uint8Array): NodeMessage | null {
  try {
    if (frame[0] === RAFT) return decodeRaft(frame);
    if (frame[0] !== JSON_MESSAGE) return null;
    const parsed: unknown = JSON.parse(utf8.decode(frame.subarray(1)));
    return isJsonMessage(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

class Writer {
  readonly #view: DataView;
  readonly bytes: Uint8Array;
  #at = 0;
  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }
  u8(value: number): void {
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
  }
  u32(value: number): void {
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
  }
  f64(value: number): void {
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }
  raw(value: Uint8Array): void {
    this.bytes.set(value, this.#at);
    this.#at += value.length;
  }
}

/** Reads throw a RangeError beyond the end; decodeMessage turns that into null. */
class Reader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  #at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u8(): number {
    this.#at += 1;
    return this.#view.getUint8(this.#at - 1);
  }
  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4);
  }
  /** A count: a non-negative safe integer. */
  count(): number {
    this.#at += 8;
    const value = this.#view.getFloat64(this.#at - 8);
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError("not a count");
    return value;
  }
  raw(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw new RangeError("beyond the end");
    this.#at += length;
    return this.#bytes.slice(this.#at - length, this.#at);
  }
  end(): void {
    if (this.#at !== this.#bytes.length) throw new RangeError("bytes left over");
  }
}

function encodeRaft(clusterId: string, m: Message): Uint8Array {
  const cluster = text.encode(clusterId);
  const out = new Writer(3 + cluster.length + 3 * 8 + bodySize(m));
  out.u8(RAFT);
  out.u8(cluster.length);
  out.raw(cluster);
  out.u8(RAFT_KINDS.indexOf(m.kind));
  out.f64(m.from);
  out.f64(m.to);
  out.f64(m.term);
  encodeBody(out, m);
  return out.bytes;
}

function bodySize(m: Message): number {
  switch (m.kind) {
    case "append":
      return m.entries.reduce((sum, { data }) => sum + ENTRY_HEADER_BYTES + data.length, 3 * 8 + 4);
    case "append-reply":
      return 1 + 8 + (m.rejected ? 16 : 0);
    case "heartbeat":
    case "pre-vote":
    case "snapshot":
      return 16;
    case "vote":
      return 17;
    case "timeout-now":
      return 0;
    case "heartbeat-reply":
      return 8;
    case "pre-vote-reply":
    case "vote-reply":
      return 17;
  }
}

function encodeBody(out: Writer, m: Message): void {
  switch (m.kind) {
    case "append":
      out.f64(m.prevIndex);
      out.f64(m.prevTerm);
      out.f64(m.commit);
      out.u32(m.entries.length);
      // Indices follow from prevIndex: a frame cannot even say that there is a gap.
      for (const { term, kind, data } of m.entries) {
        out.f64(term);
        out.u8(ENTRY_KINDS.indexOf(kind));
        out.u32(data.length);
        out.raw(data);
      }
      return;
    case "append-reply":
      out.u8(m.rejected ? 1 : 0);
      out.f64(m.index);
      if (m.rejected) {
        out.f64(m.hintIndex);
        out.f64(m.hintTerm);
      }
      return;
    case "heartbeat":
      out.f64(m.commit);
      out.f64(m.context);
      return;
    case "heartbeat-reply":
      out.f64(m.context);
      return;
    case "snapshot":
      out.f64(m.snapshotIndex);
      out.f64(m.snapshotTerm);
      return;
    case "timeout-now":
      return;
    case "pre-vote":
      out.f64(m.lastIndex);
      out.f64(m.lastTerm);
      return;
    case "vote":
      out.f64(m.lastIndex);
      out.f64(m.lastTerm);
      out.u8(m.transfer ? 1 : 0);
      return;
    case "pre-vote-reply":
    case "vote-reply":
      out.u8(m.rejected ? 1 : 0);
      out.f64(m.commit);
      out.f64(m.commitTerm);
      return;
  }
}

function decodeRaft(frame: Uint8Array): NodeMessage | null {
  const input = new Reader(frame);
  input.u8();
  const clusterId = utf8.decode(input.raw(input.u8()));
  const kind = RAFT_KINDS[input.u8()];
  const header = { from: input.count(), to: input.count(), term: input.count() };
  if (kind === undefined || header.from === 0 || header.to === 0) return null;
  const message = decodeBody(input, kind, header);
  input.end();
  return { kind: "raft", clusterId, message };
}

function decodeBody(
  input: Reader,
  kind: Message["kind"],
  header: { from: number; to: number; term: number },
): Message {
  switch (kind) {
    case "append":
      return decodeAppend(input, header);
    case "append-reply": {
      const rejected = input.u8() === 1;
      const index = input.count();
      return rejected
        ? { ...header, kind, index, rejected, hintIndex: input.count(), hintTerm: input.count() }
        : { ...header, kind, index, rejected };
    }
    case "heartbeat":
      return { ...header, kind, commit: input.count(), context: input.count() };
    case "heartbeat-reply":
      return { ...header, kind, context: input.count() };
    case "snapshot":
      return { ...header, kind, snapshotIndex: input.count(), snapshotTerm: input.count() };
    case "timeout-now":
      return { ...header, kind };
    case "pre-vote":
      return { ...header, kind, lastIndex: input.count(), lastTerm: input.count() };
    case "vote": {
      const last = { lastIndex: input.count(), lastTerm: input.count() };
      return { ...header, kind, ...last, transfer: input.u8() === 1 };
    }
    case "pre-vote-reply":
    case "vote-reply":
      return {
        ...header,
        kind,
        rejected: input.u8() === 1,
        commit: input.count(),
        commitTerm: input.count(),
      };
  }
}

function decodeAppend(input: Reader, header: { from: number; to: number; term: number }): Message {
  const prevIndex = input.count();
  const prevTerm = input.count();
  const commit = input.count();
  const count = input.u32();
  if (prevTerm > header.term || !Number.isSafeInteger(prevIndex + count)) {
    throw new RangeError("entries beyond what can be");
  }
  const entries: Entry[] = [];
  let termBefore = prevTerm;
  for (let i = 0; i < count; i++) {
    const term = input.count();
    const kind = ENTRY_KINDS[input.u8()];
    const data = input.raw(input.u32());
    if (kind === undefined || term < termBefore || term > header.term) {
      throw new RangeError("entries out of order");
    }
    termBefore = term;
    entries.push({ term, index: prevIndex + 1 + i, kind, data });
  }
  return { ...header, kind: "append", prevIndex, prevTerm, commit, entries };
}

/** The message stays as it was sent, its fields in their order: a command's digest must not depend on its way. */
function isJsonMessage(value: unknown): value is NodeMessage {
  return messageShape.safeParse(value).success;
}
