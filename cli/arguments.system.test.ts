import { expect, test } from "vitest";
import { orch, TestApi } from "./test-api.ts";

test.each([
  [["node", "rm", ""], "orch node rm: the argument <node> is empty"],
  [["node", "leave", ""], "orch node leave: the argument <node> is empty"],
  [["cluster", "transfer", ""], "orch cluster transfer: the argument <node> is empty"],
  [["config", "set", "a", ""], "orch config set: the argument <file> is empty"],
  [["config", "set", "Bad Name", "-"], '"Bad Name" is no name for a config'],
])("%j is refused before any node is asked", async (words, message) => {
  const api = await TestApi.start({});
  try {
    const done = await orch(words, { ORCH_HOST: api.host });
    expect(done).toMatchObject({ code: 64, stdout: "" });
    expect(done.stderr).toContain(`orch: ${message}\nhint: `);
    expect(api.seen).toEqual([]);
  } finally {
    await api.stop();
  }
});
