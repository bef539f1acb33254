const LIBRARY =
  /[\\/]node_modules[\\/](?:@libp2p|libp2p|@multiformats|@chainsafe|it-[a-z-]+|p-[a-z-]+|race-[a-z]+)[\\/]/;
const SOCKET_ENDINGS = new Set(["ECONNRESET", "EPIPE", "ECONNABORTED"]);

/**
 * Whether an uncaught error came out of the network libraries alone, or is the end of some socket: such an error is
 * logged and counted, while any other one must end the process. For the process's uncaughtException handler.
 */
export function isStrayNetworkError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  const ours = frames.filter((line) => !/\(?node:/.test(line) && !/<anonymous>\)?$/.test(line));
  if (ours.length > 0) return ours.every((line) => LIBRARY.test(line));
  return "code" in error && typeof error.code === "string" && SOCKET_ENDINGS.has(error.code);
}
