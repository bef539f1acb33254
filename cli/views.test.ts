import { expect, test } from "vitest";
import { nodeView, taskView } from "./test-views.ts";
import { bySlot, nodeTable, stateText, taskUrls } from "./views.ts";

test("slots are ordered by their number, not by its digits", () => {
  const slots = ["hello.web.10", "hello.web.2", "hello.db.1", "app.web.3"].map((slot) => {
    const [job = "", service = ""] = slot.split(".");
    return taskView({ slot, job, service });
  });
  expect(slots.toSorted(bySlot).map(({ slot }) => slot)).toEqual([
    "app.web.3",
    "hello.db.1",
    "hello.web.2",
    "hello.web.10",
  ]);
});

test("a node's row has what is reserved of what there is, and what was measured when", () => {
  const usage = {
    cpuMilli: 355,
    memoryMib: 900,
    diskMib: 1,
    load1: 0,
    networkRxBytesPerS: null,
    networkTxBytesPerS: null,
    ageMs: 2_400,
  };
  const { header, rows } = nodeTable([
    nodeView({ usage, manager: true, hidden: true }),
    nodeView(),
  ]);
  expect(rows[0]).toEqual([
    "n1",
    "ready",
    "voter, manager, hidden",
    "0.1/2",
    "64/4096",
    "1",
    "0.36",
    "900",
    "2s",
    "process",
    "dc1",
  ]);
  expect(rows[1]?.slice(6, 9)).toEqual(["-", "-", "-"]);
  expect(header.length).toBe(rows[0]?.length);
});

test("a node's row says what is not known to the one that was asked", () => {
  const nobody = { status: null, role: null, tasks: null, driver: null, datacenter: null };
  const unknown = { ...nobody, resources: null, allocated: null };
  const { rows } = nodeTable([
    nodeView(unknown),
    nodeView({ ...unknown, status: "suspect", holdsLog: false }),
  ]);
  expect(rows.map((row) => row.slice(1, 6))).toEqual([
    ["unknown", "log holder", "-", "-", "-"],
    ["suspect", "member", "-", "-", "-"],
  ]);
});

test("a state says what is known of health, starts and the exit code", () => {
  expect(stateText(taskView())).toBe("running");
  expect(stateText(taskView({ healthy: true, attempts: 4 }))).toBe("running (healthy, 4 starts)");
  expect(stateText(taskView({ state: "failed", exitCode: 137 }))).toBe("failed (exit 137)");
  expect(stateText(taskView({ state: "complete", exitCode: 0 }))).toBe("complete");
});

test("only TCP ports of running tasks have a URL", () => {
  const port = { host: 20_001, container: 80, protocol: "tcp", address: "::1" };
  const running = taskView({ ports: [port, { ...port, protocol: "udp" }] });
  expect(taskUrls([running, taskView({ state: "failed" })]).map(({ url }) => url)).toEqual([
    "http://[::1]:20001/",
  ]);
});
