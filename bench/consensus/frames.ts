/**
 * What the load generator and a bench node say to each other: u32 length of the body, u32 id, u8 kind, the body.
 * The body of a write is a key of KEY_BYTES and the value, that of a read the key. An answer has its request's id.
 */
export const FRAME = { write: 1, read: 2, ok: 3, refused: 4, echo: 5, sync: 6 } as const;

const HEAD_BYTES = 9;
export const KEY_BYTES = 10;

export function encodeFrame(id: number, kind: number, body: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEAD_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  frame.writeUInt32BE(id, 4);
  frame[8] = kind;
  body.copy(frame, HEAD_BYTES);
  return frame;
}

export function encodeRequest(id: number, kind: number, key: string, value: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEAD_BYTES + KEY_BYTES + value.length);
  frame.writeUInt32BE(KEY_BYTES + value.length, 0);
  frame.writeUInt32BE(id, 4);
  frame[8] = kind;
  frame.write(key, HEAD_BYTES, KEY_BYTES, "latin1");
  value.copy(frame, HEAD_BYTES + KEY_BYTES);
  return frame;
}

/** The bytes of the first frame, after it was given to `onFrame`; 0: it is not whole. */
export function takeFrame(
  bytes: Buffer,
  onFrame: (id: number, kind: number, body: Buffer) => void,
): number {
  if (bytes.length < HEAD_BYTES) return 0;
  const end = HEAD_BYTES + bytes.readUInt32BE(0);
  if (bytes.length < end) return 0;
  onFrame(bytes.readUInt32BE(4), bytes[8] ?? 0, bytes.subarray(HEAD_BYTES, end));
  return end;
}
