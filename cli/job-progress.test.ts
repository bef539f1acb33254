import { expect, test } from "vitest";
import { assess, changeLines, newestOfSlots } from "./job-progress.ts";
import { jobView, taskView } from "./test-views.ts";

test("a job runs when all of it does; the fingerprint shows restarts and replacements", () => {
  const job = jobView();
  const running = assess(job, [taskView()]);
  expect(running.kind).toBe("running");
  expect(assess(job, [taskView()])).toEqual(running);
  expect(assess(job, [taskView({ attempts: 2 })])).not.toEqual(running);
  expect(assess(job, [taskView({ id: "d-1" })])).not.toEqual(running);
});

test.each([
  ["a task is missing", jobView({ status: "degraded" }, { running: 0 }), [taskView()]],
  [
    "an old one is still ending",
    jobView(),
    [taskView(), taskView({ id: "b-1", state: "stopping" })],
  ],
  ["an old one is about to end", jobView(), [taskView({ desired: "stopped" })]],
  ["a task is not healthy", jobView(), [taskView({ healthy: false })]],
  [
    "a task is pending",
    jobView({ status: "pending" }, { running: 0 }),
    [taskView({ state: "pending" })],
  ],
])("it waits while %s", (_, job, tasks) => {
  expect(assess(job, tasks).kind).toBe("waiting");
});

test("the reason for waiting is shown", () => {
  const pending = taskView({ state: "pending", node: null, message: "no node has 64 CPUs" });
  expect(assess(jobView({ status: "pending" }, { running: 0 }), [pending])).toEqual({
    kind: "waiting",
    summary: "web 0/1: no node has 64 CPUs",
  });
});

test("a task that is started again and again is a failure, and so is a slot that fails thrice", () => {
  const looping = taskView({ attempts: 3, state: "starting", message: "exit 1" });
  expect(assess(jobView({}, { running: 0 }), [looping])).toMatchObject({
    kind: "failed",
    culprits: [looping],
  });

  const failures = ["a", "b", "c"].map((id, index) =>
    taskView({ id: `${id}-1`, state: "rejected", createdAt: `2026-01-31T12:00:0${index}.000Z` }),
  );
  const job = jobView({ status: "pending" }, { running: 0 });
  expect(assess(job, failures)).toMatchObject({ kind: "failed", culprits: [{ id: "c-1" }] });
  expect(assess(job, failures.slice(1)).kind).toBe("waiting");
  // What an earlier version of the file did is no fault of this one.
  expect(assess({ ...job, version: 2 }, failures).kind).toBe("waiting");
});

test("a stopped or failed job has failed, and names the tasks", () => {
  const failed = taskView({ state: "failed", exitCode: 3, finishedAt: "2026-01-31T12:00:02.000Z" });
  expect(assess(jobView({ status: "failed" }), [failed])).toMatchObject({
    kind: "failed",
    culprits: [failed],
  });
  expect(assess(jobView({ status: "stopped" }), []).kind).toBe("failed");
});

test("each slot's newest task counts", () => {
  const older = taskView({ id: "a-1", createdAt: "2026-01-31T11:00:00.000Z" });
  const other = taskView({ id: "a-2", slot: "hello.web.2" });
  expect(newestOfSlots([taskView(), older, other]).map(({ id }) => id)).toEqual(["c-1", "a-2"]);
});

test("a change is told once", () => {
  const seen = new Map<string, string>();
  const pending = taskView({ state: "pending", nodeName: null, message: "no room" });
  expect(changeLines([pending], seen)).toEqual(["hello.web.1 pending: no room"]);
  expect(changeLines([pending], seen)).toEqual([]);
  expect(changeLines([taskView()], seen)).toEqual(["hello.web.1 running on n1"]);
});
