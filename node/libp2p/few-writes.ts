import type { ConnectionEncrypter, MessageStream, Stream } from "@libp2p/interface";
import type { noise } from "@libp2p/noise";

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
      secureInbound: (connection, options) => inner.secureInbound(whole(connection), options),
      secureOutbound: (connection, options) => inner.secureOutbound(whole(connection), options),
    };
  };
}

function whole(connection: MessageStream): MessageStream {
  const send = connection.send.bind(connection);
  connection.send = (data) => send(data instanceof Uint8Array ? data : data.subarray());
  return connection;
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
