import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { encodeFrame, FRAME, takeFrame } from "./frames.ts";
import { Cutter } from "./turn-writer.ts";

/** A process that answers at once, or when what it was sent is durable: the floor under any replicated write. */

const FILE_BYTES = 16 * 1024 * 1024;

process.on("disconnect", () => process.exit(0));
const fd = openSync(process.argv[2] ?? "", "w");
process.on("exit", () => closeSync(fd));
// Written out once: later writes change no size, and one fdatasync is all that they take.
writeSync(fd, Buffer.alloc(FILE_BYTES), 0, FILE_BYTES, 0);
fdatasyncSync(fd);
let at = 0;

const server = createServer({ noDelay: true }, (socket) => {
  const cutter = new Cutter((bytes) =>
    takeFrame(bytes, (id, kind, body) => {
      if (kind === FRAME.sync) writeDurably(body);
      socket.write(encodeFrame(id, FRAME.ok, Buffer.alloc(0)));
    }),
  );
  socket.on("data", (chunk: Buffer) => cutter.push(chunk));
  socket.on("error", () => undefined);
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address !== null && typeof address !== "string") process.send?.({ port: address.port });
});

function writeDurably(bytes: Buffer): void {
  if (at + bytes.length > FILE_BYTES) at = 0;
  writeSync(fd, bytes, 0, bytes.length, at);
  fdatasyncSync(fd);
  at += bytes.length;
}
