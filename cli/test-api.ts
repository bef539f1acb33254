import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

/** For tests: a real server on a unix socket that answers as a node would, and the real CLI as a child process. */

export const ORCH: string = fileURLToPath(new URL("../bin/orch", import.meta.url));

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly key: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** Answers one request; may keep the response open. */
export type Answer = (
  seen: Seen,
  response: ServerResponse,
  request: IncomingMessage,
) => void | Promise<void>;

/** A server on a socket of its own. `answers`: by `METHOD path`, the query left out; `*` for the rest. */
export class TestApi {
  readonly seen: Seen[] = [];
  readonly socketPath: string;
  readonly #folder: string;
  readonly #server: Server;

  private constructor(folder: string, answers: Readonly<Record<string, Answer>>) {
    this.#folder = folder;
    this.socketPath = join(folder, "orch.sock");
    this.#server = createServer((request, response) => {
      void this.#serve(answers, request, response);
    });
  }

  static async start(answers: Readonly<Record<string, Answer>>): Promise<TestApi> {
    const api = new TestApi(await mkdtemp(join(tmpdir(), "orch-cli-")), answers);
    api.#server.listen(api.socketPath);
    await once(api.#server, "listening");
    return api;
  }

  get host(): string {
    return `unix://${this.socketPath}`;
  }

  get folder(): string {
    return this.#folder;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #serve(
    answers: Readonly<Record<string, Answer>>,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { method = "", url = "", headers } = request;
    const key = headers["idempotency-key"];
    const seen = {
      method,
      url,
      headers,
      key: typeof key === "string" ? key : undefined,
      body: await text(request),
    };
    this.seen.push(seen);
    const answer = answers[`${method} ${url.replace(/\?.*$/, "")}`] ?? answers["*"];
    if (answer === undefined) {
      sendJson({ code: "not-found", message: `nothing at ${url}`, details: {}, hint: "" }, 404)(
        seen,
        response,
        request,
      );
    } else {
      await answer(seen, response, request);
    }
  }
}

/** Always the same JSON. */
export function sendJson(
  value: unknown,
  status: number = 200,
): (...args: Parameters<Answer>) => void {
  return (_seen, response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts bin/orch with none of this machine's own settings, only those given. */
export function startOrch(
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
  stdin: "ignore" | "pipe" = "ignore",
): ChildProcess {
  const { PATH = "", HOME = "" } = process.env;
  return spawn(ORCH, words, {
    stdio: [stdin, "pipe", "pipe"],
    env: {
      PATH,
      HOME,
      ORCH_DATA_DIR: "/nonexistent",
      XDG_RUNTIME_DIR: "/nonexistent",
      ...environment,
    },
  });
}

/** Runs it to its end. */
export async function orch(
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Finished> {
  return finished(startOrch(words, environment));
}

/** What a child printed and how it ended. */
export async function finished(child: ChildProcess): Promise<Finished> {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error("the child's output must be piped");
  const exit = once(child, "exit");
  const [out, err] = await Promise.all([text(stdout), text(stderr)]);
  await exit;
  return { code: child.exitCode, stdout: out, stderr: err };
}
