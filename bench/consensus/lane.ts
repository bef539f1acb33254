import { connect, type Socket } from "node:net";

/** One connection of the load generator to one server, whatever it speaks. Many operations may be under way on it. */
export interface Lane {
  write(key: string, value: Buffer, done: Done): void;
  /** Linearizable. */
  read(key: string, done: Done): void;
  close(): void;
}

/** Called once; false: refused, lost, or an answer without the value. */
export type Done = (ok: boolean) => void;

export interface Target {
  readonly host: string;
  readonly port: number;
  /** For the HTTP API; elsewhere empty. */
  readonly token: string;
}

export const VALUE_BYTES = 256;
/** As many names as are written to and read from. */
export const KEYS = 2_000;

export function keyOf(number: number): string {
  return `key-${String(number % KEYS).padStart(6, "0")}`;
}

const CONNECT_MS = 5_000;

export function openSocket({ host, port }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`${host}:${port} does not answer`));
    }, CONNECT_MS);
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}
