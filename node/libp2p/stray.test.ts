import { expect, test } from "vitest";
import { isStrayNetworkError } from "./stray.ts";

function errorAt(...frames: string[]): Error {
  const error = new Error("x");
  error.stack = ["Error: x", ...frames.map((frame) => `    at ${frame}`)].join("\n");
  return error;
}

test("an error of the libraries alone is stray", () => {
  expect(
    isStrayNetworkError(
      errorAt(
        "onSocket (file:///a/node_modules/@libp2p/tcp/dist/src/listener.js:1:1)",
        "Server.emit (node:events:519:28)",
      ),
    ),
  ).toBe(true);
});

test("an error with code of orch in its stack is not", () => {
  expect(
    isStrayNetworkError(
      errorAt(
        "apply (file:///a/node/node.ts:1:1)",
        "x (file:///a/node_modules/@libp2p/utils/dist/src/a.js:1:1)",
      ),
    ),
  ).toBe(false);
});

test("an error of another library is not", () => {
  expect(isStrayNetworkError(errorAt("x (file:///a/node_modules/fastify/fastify.js:1:1)"))).toBe(
    false,
  );
});

test("the end of a socket is, what came from no place is not", () => {
  expect(
    isStrayNetworkError(
      Object.assign(errorAt("TCP.onStreamRead (node:internal/stream_base_commons:216:20)"), {
        code: "ECONNRESET",
      }),
    ),
  ).toBe(true);
  expect(
    isStrayNetworkError(Object.assign(errorAt("open (node:fs:1:1)"), { code: "ENOSPC" })),
  ).toBe(false);
  expect(isStrayNetworkError("text")).toBe(false);
});
