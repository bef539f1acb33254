import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MemoryBackend } from "./memory-backend.ts";
import { metricsText, processSamples, snakeCase } from "./metrics.ts";

const NONE = { requests: 0, refused: 0, tooLarge: 0, unauthorized: 0 };
const LINE =
  /^(?:# (?:HELP [a-z_0-9]+ .+|TYPE [a-z_0-9]+ (?:counter|gauge|histogram))|[a-z_][a-z_0-9]*(?:\{[^\n]*\})? [0-9.e+-]+)$/;

test("names become snake case", () => {
  expect(snakeCase("raft.messagesSent")).toBe("raft_messages_sent");
  expect(snakeCase("tooLarge")).toBe("too_large");
});

test("the text holds the node's, the API's and the process' figures", () => {
  const backend = new MemoryBackend();
  const api = { ...NONE, requests: 5, tooLarge: 1 };
  const text = metricsText(
    backend.local(),
    backend.counters(),
    api,
    backend.histograms(),
    processSamples(),
  );
  expect(text).toContain("\norch_raft_term 3\n");
  expect(text).toContain("\norch_raft_leader 1\n");
  expect(text).toContain("\norch_raft_messages_sent_total 12\n");
  expect(text).toContain("\norch_raft_log_entries 1\n");
  expect(text).toContain('\norch_disk_write_seconds_bucket{le="0.004"} 2\n');
  expect(text).toContain('\norch_disk_write_seconds_bucket{le="+Inf"} 3\n');
  expect(text).toContain("\norch_api_requests_total 5\n");
  expect(text).toContain("\norch_api_too_large_total 1\n");
  expect(text).toContain('orch_build_info{version="0.1.0",node="node-1",node_name="one"} 1\n');
  for (const line of text.trimEnd().split("\n")) expect(line).toMatch(LINE);
});

test("no counter's or node's name makes the text invalid, or a metric stand twice", () => {
  const local = new MemoryBackend().local();
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ minLength: 1 }), fc.double()),
      fc.string(),
      (counters, name) => {
        const text = metricsText({ ...local, name }, counters, NONE, {}, []);
        const lines = text.trimEnd().split("\n");
        for (const line of lines) expect(line).toMatch(LINE);
        const names = lines.filter((line) => line.startsWith("# TYPE"));
        expect(new Set(names).size).toBe(names.length);
      },
    ),
  );
});
