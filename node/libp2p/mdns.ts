/**
 * The little of multicast DNS (RFC 6762) that members need to find each other: questions for the TXT record of a
 * name, and answers that hold one. All else on that port belongs to other programs and is passed over.
 */

export const MDNS_PORT = 5353;
/** The longest packet that RFC 6762 allows. */
const MAX_PACKET_BYTES = 9_000;
/** What follows in a packet of more questions or records than this is not read. */
const MAX_PARTS = 64;
const MAX_NAME_BYTES = 255;
const HEADER_BYTES = 12;
const TYPE_TXT = 16;
const CLASS_IN = 1;
/** In the class of a record: it replaces all that was said under this name before. */
const FLUSH = 0x80_00;
const RESPONSE = 0x80_00;
const AUTHORITATIVE = 0x04_00;
const TTL_S = 120;
const POINTER = 0xc0;

/** What a packet says about one service. The labels are the first ones of the names, in lower case. */
export interface MdnsPacket {
  readonly questions: readonly string[];
  readonly answers: readonly { readonly label: string; readonly texts: readonly string[] }[];
}

/** Asks for the TXT records of `<label>.<service>._udp.local`. */
export function encodeQuestions(service: string, labels: readonly string[]): Uint8Array {
  const parts = labels.flatMap((label) => [
    encodeName(service, label),
    numbers(TYPE_TXT, CLASS_IN),
  ]);
  return Buffer.concat([numbers(0, 0, labels.length, 0, 0, 0), ...parts]);
}

/** Says the TXT record of `<label>.<service>._udp.local`; no text may be longer than 255 bytes. */
export function encodeAnswer(service: string, label: string, texts: readonly string[]): Uint8Array {
  const data = Buffer.concat(
    texts.flatMap((text) => [Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)]),
  );
  return Buffer.concat([
    numbers(0, RESPONSE | AUTHORITATIVE, 0, 1, 0, 0),
    encodeName(service, label),
    numbers(TYPE_TXT, CLASS_IN | FLUSH, 0, TTL_S, data.byteLength),
    data,
  ]);
}

/** What `bytes` say about the service; null: nothing, or it is no packet. Never throws. */
export function decodePacket(service: string, bytes: Uint8Array): MdnsPacket | null {
  const packet = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (packet.length < HEADER_BYTES || packet.length > MAX_PACKET_BYTES) return null;
  // Names may be shortened, but only by pointing at where the same stands whole.
  if (!packet.includes(service)) return null;
  const reader = new Reader(packet);
  const questions: string[] = [];
  const answers: { label: string; texts: string[] }[] = [];
  try {
    const isAnswer = (packet.readUInt16BE(2) & RESPONSE) !== 0;
    const [asked, said] = [packet.readUInt16BE(4), packet.readUInt16BE(6)];
    for (let i = 0; i < Math.min(asked, MAX_PARTS); i++) {
      const label = labelOf(service, reader.name());
      const [type] = [reader.number(), reader.number()];
      if (!isAnswer && label !== null && type === TYPE_TXT) questions.push(label);
    }
    if (asked > MAX_PARTS) return { questions, answers };
    for (let i = 0; i < Math.min(said, MAX_PARTS); i++) {
      const label = labelOf(service, reader.name());
      const [type] = [reader.number(), reader.number(), reader.number(), reader.number()];
      const texts = reader.texts(reader.number());
      if (isAnswer && label !== null && type === TYPE_TXT) answers.push({ label, texts });
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return questions.length + answers.length === 0 ? null : { questions, answers };
}

/** Reads on and on; throws RangeError where the packet ends or makes no sense. */
class Reader {
  readonly #packet: Buffer;
  #at = HEADER_BYTES;

  constructor(packet: Buffer) {
    this.#packet = packet;
  }

  number(): number {
    const value = this.#packet.readUInt16BE(this.#at);
    this.#at += 2;
    return value;
  }

  name(): string[] {
    const labels: string[] = [];
    let at = this.#at;
    let end: number | null = null;
    let bytes = 0;
    for (;;) {
      const length = this.#packet.readUInt8(at);
      if (length === 0) break;
      if ((length & POINTER) === POINTER) {
        const to = this.#packet.readUInt16BE(at) & 0x3f_ff;
        end ??= at + 2;
        // Only backwards, so that it comes to an end.
        if (to >= at) throw new RangeError("a name points ahead");
        at = to;
        continue;
      }
      bytes += length + 1;
      if (length >= POINTER || bytes > MAX_NAME_BYTES || at + 1 + length > this.#packet.length)
        throw new RangeError("not a name");
      labels.push(this.#packet.toString("latin1", at + 1, at + 1 + length));
      at += 1 + length;
    }
    this.#at = end ?? at + 1;
    return labels;
  }

  texts(bytes: number): string[] {
    const end = this.#at + bytes;
    if (end > this.#packet.length) throw new RangeError("a record is cut off");
    const texts: string[] = [];
    for (let at = this.#at; at < end;) {
      const length = this.#packet.readUInt8(at);
      texts.push(this.#packet.toString("utf8", at + 1, Math.min(end, at + 1 + length)));
      at += 1 + length;
    }
    this.#at = end;
    return texts;
  }
}

function labelOf(service: string, name: readonly string[]): string | null {
  const [label = "", ...rest] = name.map((part) => part.toLowerCase());
  return rest.join(".") === `${service}._udp.local` ? label : null;
}

function encodeName(service: string, label: string): Buffer {
  const labels = [label, service, "_udp", "local"];
  return Buffer.concat([
    ...labels.flatMap((part) => [Buffer.from([part.length]), Buffer.from(part, "latin1")]),
    Buffer.from([0]),
  ]);
}

function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(2 * values.length);
  for (const [at, value] of values.entries()) bytes.writeUInt16BE(value, 2 * at);
  return bytes;
}
