import type {
  ConnectionEncrypter,
  MessageStream,
  SecuredConnection,
  Stream,
} from "@libp2p/interface";
import type { noise } from "@libp2p/noise";
import type { Uint8ArrayList } from "uint8arraylist";

/** Of the length before each of noise's messages. */
const LENGTH_BYTES = 2;

type Encrypters = ReturnType<typeof noise>;

/**
 * noise over connections that write each encrypted message at once: its length, its parts and its tag are two to four
 * pieces, and libp2p's TCP makes a system call and a packet of each.
 */
export function wholeMessages(
  encrypters: Encrypters,
): (components: Parameters<Encrypters>[0]) => ConnectionEncrypter {
  return (components) => {
    const inner = encrypters(components);
    return {
      protocol: inner.protocol,
      secureInbound: async (connection, options) =>
        cheapEnd(await inner.secureInbound(whole(connection), options)),
      secureOutbound: async (connection, options) =>
        cheapEnd(await inner.secureOutbound(whole(connection), options)),
    };
  };
}

function whole(connection: MessageStream): MessageStream {
  const send = connection.send.bind(connection);
  connection.send = (data) => send(data instanceof Uint8Array ? data : data.subarray());
  return connection;
}

/** Thrown again and again: a new error takes a picture of the stack each time. */
const NOT_ENOUGH = new RangeError("the length is not there yet");

/** What an encrypted connection has beyond the interface. */
interface Decoding {
  readonly decoder: { lengthDecoder: (data: Uint8Array | Uint8ArrayList) => number };
}

/** noise reads until it cannot read a length any more, and says so with an error for every piece of data that comes. */
function cheapEnd(secured: SecuredConnection): SecuredConnection {
  const { connection } = secured;
  if (!isDecoding(connection)) return secured;
  const { decoder } = connection;
  const decode = decoder.lengthDecoder;
  decoder.lengthDecoder = (data) => {
    if (data.byteLength < LENGTH_BYTES) throw NOT_ENOUGH;
    return decode(data);
  };
  return secured;
}

function isDecoding(connection: object): connection is Decoding {
  if (!("decoder" in connection)) return false;
  const { decoder } = connection;
  return (
    typeof decoder === "object" &&
    decoder !== null &&
    "lengthDecoder" in decoder &&
    typeof decoder.lengthDecoder === "function"
  );
}

/** What a yamux stream has beyond the interface. */
interface Windowed {
  readonly recvWindow: number;
  readonly recvWindowCapacity: number;
  sendWindowUpdate: () => void;
}

/**
 * yamux answers every piece of data with a window update: a message, a system call and a wake-up of the sender for each.
 * Once half of the window is used is often enough. A stream of another kind stays as it is.
 */
export function rareWindowUpdates(stream: Stream): void {
  if (!isWindowed(stream)) return;
  const tell = stream.sendWindowUpdate.bind(stream);
  // The first one also takes the stream into use.
  let told = false;
  stream.sendWindowUpdate = () => {
    if (told && stream.recvWindowCapacity > stream.recvWindow / 2) return;
    told = true;
    tell();
  };
}

function isWindowed(stream: object): stream is Windowed {
  return (
    "recvWindow" in stream &&
    typeof stream.recvWindow === "number" &&
    "recvWindowCapacity" in stream &&
    typeof stream.recvWindowCapacity === "number" &&
    "sendWindowUpdate" in stream &&
    typeof stream.sendWindowUpdate === "function"
  );
}
