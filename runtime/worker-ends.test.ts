import { describe, expect, test } from "vitest";
import { taskId } from "../state/ids.ts";
import {
  ALWAYS,
  Bench,
  NEVER,
  ON_FAILURE,
  T0,
  assignment,
  refused,
  report,
  status,
  task,
  unavailable,
  NOTHING,
} from "../test/fixtures/worker-bench.ts";

/** A start was not answered, the next one is in flight. */
function unansweredStart(): Bench {
  const bench = new Bench().list().assign(assignment()).ended("create");
  return bench.ended("start", unavailable).after(1_000);
}

describe("stopping", () => {
  const stopped = assignment({ desired: "stopped" });

  test("a running task is stopped within its grace, its container is kept", () => {
    const bench = new Bench().running().after(1_000).assign(stopped);
    expect(bench.last.steps).toEqual([{ kind: "stop", task, graceMs: 3_000 }]);
    expect(bench.report.state).toBe("stopping");
    bench.exits(143);
    expect(bench.report.state).toBe("stopping");
    bench.ended("stop");
    expect(bench.last.reports).toEqual([
      report({
        state: "stopped",
        attempts: 1,
        exitCode: 143,
        startedAtMs: T0,
        finishedAtMs: bench.now,
      }),
    ]);
    expect(bench.steps).toEqual([]);
  });

  test("the exit code may come after the stop's answer, and only once", () => {
    const bench = new Bench().running().assign(stopped).ended("stop");
    expect(bench.report).toMatchObject({ state: "stopped", exitCode: null });
    expect(bench.after(5).exits(143).report).toMatchObject({ state: "stopped", exitCode: 143 });
    expect(bench.report.finishedAtMs).toBe(T0);
    expect(bench.after(5).exits(1).last.reports).toEqual([]);
  });

  test("before it was ever started it is not started", () => {
    const bench = new Bench().list().assign(stopped);
    expect(bench.steps).toEqual([]);
    expect(bench.report).toMatchObject({
      state: "stopped",
      attempts: 0,
      message: "stopped before it was started",
    });
  });

  test("a create in flight is awaited, then undone", () => {
    const bench = new Bench().list().assign(assignment()).assign(stopped);
    expect(bench.steps).toEqual([]);
    expect(bench.ended("create").steps).toEqual(["remove"]);
    expect(bench.report.state).toBe("stopping");
    expect(bench.ended("remove").report).toMatchObject({ state: "stopped", attempts: 0 });
  });

  test("a start in flight is awaited, then stopped", () => {
    const bench = new Bench().list().assign(assignment()).ended("create").assign(stopped);
    expect(bench.steps).toEqual([]);
    expect(bench.ended("start").steps).toEqual(["stop"]);
    expect(bench.report).toMatchObject({ state: "stopping", attempts: 1 });
  });

  test("while it waits for its restart it is stopped at once", () => {
    const bench = new Bench().running().exits(3).assign(stopped);
    expect(bench.steps).toEqual([]);
    expect(bench.report).toMatchObject({ state: "stopped", exitCode: 3, healthy: null });
  });

  test("what is over stays as it is", () => {
    const complete = new Bench().running({ restart: NEVER }).exits(0);
    expect(complete.assign({ ...stopped, restart: NEVER }).report.state).toBe("complete");
    const failed = new Bench().running({ restart: NEVER }).exits(1);
    expect(failed.assign({ ...stopped, restart: NEVER }).report.state).toBe("failed");
  });

  test("an exit that came before the stop counts as what it was", () => {
    const bench = new Bench()
      .list()
      .assign(assignment({ restart: NEVER }))
      .ended("create");
    bench
      .assign({ ...stopped, restart: NEVER })
      .exits(0)
      .ended("start");
    expect(bench.report.state).toBe("complete");
    expect(bench.steps).toEqual([]);
  });

  test("a start that was not answered may have worked: it is stopped with its grace", () => {
    const bench = new Bench()
      .list()
      .assign(assignment())
      .ended("create")
      .ended("start", unavailable);
    expect(bench.assign(stopped).last.steps).toEqual([{ kind: "stop", task, graceMs: 3_000 }]);
    expect(bench.ended("stop").report.state).toBe("stopped");
  });

  test("a stop is not taken back", () => {
    const bench = new Bench().running().assign(stopped).assign(assignment());
    expect(bench.worker.assignments).toEqual([stopped]);
  });

  test("a stop that the engine does not answer is repeated", () => {
    const bench = new Bench().running().assign(stopped).ended("stop", unavailable);
    expect(bench.report).toMatchObject({
      state: "stopping",
      message: "Docker does not answer; trying again",
    });
    expect(bench.after(1_000).steps).toEqual(["stop"]);
    expect(bench.ended("stop").report).toMatchObject({ state: "stopped", message: "" });
  });
});

describe("removal", () => {
  test("a running one is stopped, removed, forgotten, without a report", () => {
    const bench = new Bench().running().remove();
    expect(bench.last.steps).toEqual([{ kind: "stop", task, graceMs: 3_000 }]);
    expect(bench.last.memory).toEqual({ assignments: [], reports: [], ending: [] });
    expect(bench.exits(143).ended("stop").steps).toEqual(["remove"]);
    expect(bench.ended("remove").last).toEqual(NOTHING);
    expect(bench.seen("gone").last.steps).toEqual([]);
    expect(() => bench.ended("remove")).toThrow("does not have");
  });

  test("one that is over is removed", () => {
    expect(new Bench().running({ restart: NEVER }).exits(0).remove().steps).toEqual(["remove"]);
  });

  test("it waits for nothing that the task waited for", () => {
    expect(new Bench().running().exits(3).remove().steps).toEqual(["remove"]);
  });

  test("a create that was not answered may have worked: it is undone", () => {
    const bench = new Bench().list().assign(assignment()).ended("create", unavailable);
    expect(bench.remove().steps).toEqual(["remove"]);
  });

  test("a full set removes all others", () => {
    const other = assignment({ task: taskId("b-0") });
    const bench = new Bench().running().full(other);
    // The port and the memory of what ends may be promised to the other: nothing is made before.
    expect(bench.steps).toEqual(["stop"]);
    expect(bench.worker.assignments).toEqual([other]);
    expect(bench.ended("stop").steps).toEqual(["remove", "create"]);
  });

  test("a removal that fails is repeated", () => {
    const bench = new Bench()
      .running({ restart: NEVER })
      .exits(0)
      .remove()
      .ended("remove", refused);
    expect(bench.last.wakeAtMs).toBe(T0 + 1_000);
    expect(bench.after(1_000).steps).toEqual(["remove"]);
  });

  test.each(["stop", "remove"] as const)(
    "assigned again during the %s, it is made again",
    (step) => {
      const bench = new Bench().running().remove();
      if (step === "remove") bench.ended("stop");
      bench.assign(assignment()).ended(step);
      expect(bench.report).toMatchObject({ state: "running", healthy: false, attempts: 1 });
      expect(bench.steps).toEqual([step === "stop" ? "start" : "create"]);
    },
  );

  test("a task that is assigned again while its container is being removed runs again", () => {
    const bench = new Bench().running().remove().assign(assignment()).exits(143).ended("stop");
    expect(bench.steps).toEqual(["start"]);
    expect(bench.report).toMatchObject({ state: "running", healthy: false });
    expect(bench.ended("start").report).toMatchObject({
      state: "running",
      healthy: null,
      attempts: 2,
    });
  });
});

describe("adoption", () => {
  const running = status("running", { startedAtMs: T0 });

  test("a restart of the node does not touch a running task", () => {
    const bench = new Bench().running().exits(3).restarted();
    const before = bench.report;
    bench.reborn().now += 60_000;
    bench.list({ ...running, startedAtMs: before.startedAtMs });
    expect(bench.last).toEqual(NOTHING);
    expect(bench.report).toEqual(before);
    expect(bench.full(assignment()).last.steps).toEqual([]);
    expect(bench.worker.reports()).toEqual([before]);
  });

  test("a container that nobody remembers is left alone until the first full set", () => {
    const bench = new Bench().list(running).after(3_600_000);
    expect(bench.steps).toEqual([]);
    expect(bench.worker.reports()).toEqual([]);
    expect(bench.full().last.steps).toEqual([{ kind: "stop", task, graceMs: 10_000 }]);
    expect(bench.ended("stop").steps).toEqual(["remove"]);
    bench.ended("remove");
    // Later ones go at once.
    expect(bench.list(running).steps).toEqual(["stop"]);
  });

  test("or is adopted when it is assigned", () => {
    const bench = new Bench().list(running).after(5_000).full(assignment());
    expect(bench.steps).toEqual([]);
    expect(bench.last.reports).toEqual([
      report({ state: "running", attempts: 1, startedAtMs: T0 }),
    ]);
  });

  test("one that had ended is judged when it is assigned", () => {
    const ended = status("exited", { exitCode: 0, startedAtMs: T0, finishedAtMs: T0 + 10 });
    const bench = new Bench().list(ended).full(assignment({ restart: NEVER }));
    expect(bench.report).toMatchObject({ state: "complete", exitCode: 0, attempts: 1 });
    expect(bench.steps).toEqual([]);
  });

  test("a restart that was being waited for when the node died is made at once", () => {
    const bench = new Bench().running().exits(3);
    const before = bench.report;
    const exit = status("exited", { exitCode: 3, startedAtMs: T0, finishedAtMs: T0 });
    expect(bench.reborn().list(exit).last).toMatchObject({
      reports: [],
      steps: [{ kind: "start" }],
    });
    expect(bench.ended("start").report.attempts).toBe(before.attempts + 1);
  });

  test("a start that was under way when the node died is an attempt", () => {
    const bench = new Bench().running().exits(3).after(10_000).reborn();
    bench.list({ ...running, startedAtMs: bench.now });
    expect(bench.report).toMatchObject({ state: "running", healthy: null, attempts: 2 });
    expect(bench.steps).toEqual([]);
  });

  const killed = status("exited", { exitCode: 137, startedAtMs: T0, finishedAtMs: T0 + 10 });

  test.each([ALWAYS, ON_FAILURE])(
    "after a reboot it starts at once, $condition, and it is no crash",
    (restart) => {
      const bench = new Bench().running({ restart: { ...restart, maxAttempts: 0 } }).reborn();
      bench.now += 100;
      expect(bench.list(killed).steps).toEqual(["start"]);
      expect(bench.report).toMatchObject({ state: "running", healthy: false, exitCode: 137 });
      expect(bench.ended("start").report).toMatchObject({
        state: "running",
        healthy: null,
        attempts: 2,
      });
    },
  );

  test.each([
    { restart: NEVER, exitCode: 0, state: "complete" },
    { restart: ON_FAILURE, exitCode: 0, state: "complete" },
    { restart: NEVER, exitCode: 1, state: "failed" },
  ])(
    "what ended while the node was down: $restart.condition, $exitCode: $state",
    ({ restart, exitCode, state }) => {
      const bench = new Bench().running({ restart }).reborn();
      bench.now += 100;
      bench.list({ ...killed, exitCode });
      expect(bench.report).toMatchObject({ state, exitCode, finishedAtMs: T0 + 10 });
    },
  );

  test("a container that is gone after the node's restart is made again at once", () => {
    const bench = new Bench().running().reborn().list();
    expect(bench.steps).toEqual(["create"]);
    expect(bench.report).toMatchObject({ state: "running", healthy: false, attempts: 1 });
  });

  test("what is over stays over", () => {
    const bench = new Bench().running({ restart: NEVER }).exits(1).reborn().list(killed);
    expect(bench.last).toEqual(NOTHING);
    expect(bench.report.state).toBe("failed");
  });

  test("it goes on without any manager", () => {
    const bench = new Bench().running().reborn().list(running).after(60_000).exits(1).after(10_000);
    expect(bench.steps).toEqual(["start"]);
  });

  test("a stop that was under way is gone on with", () => {
    const bench = new Bench()
      .running()
      .assign(assignment({ desired: "stopped" }))
      .reborn();
    expect(bench.list(running).steps).toEqual(["stop"]);
  });
});

describe("a reconnect of the engine", () => {
  test("a missed exit is an exit", () => {
    const bench = new Bench().running().after(60_000);
    bench.list(status("exited", { exitCode: 3, startedAtMs: T0, finishedAtMs: T0 + 9 }));
    expect(bench.report.message).toBe("restarting in 10 s after exit code 3");
  });

  test("what runs still, runs on", () => {
    const bench = new Bench()
      .running()
      .after(60_000)
      .list(status("running", { startedAtMs: T0 }));
    expect(bench.last).toEqual(NOTHING);
  });

  test("an exit that came late is not taken for the end of the start after it", () => {
    const earlier = { exitCode: 1, startedAtMs: T0 + 5, finishedAtMs: T0 + 500 };
    // What the second start made may run: a removal must give it its grace.
    expect(unansweredStart().seen("exited", earlier).remove().ended("start").steps).toEqual([
      "stop",
    ]);
    const listed = unansweredStart().ended("start", unavailable).list(status("exited", earlier));
    expect(listed.remove().steps).toEqual(["stop"]);
  });

  test("a removal that is told late is not taken for that of the container after it", () => {
    const bench = new Bench().running().exits(1).seen("gone", { startedAtMs: T0 }).after(10_000);
    bench.ended("create").ended("start").seen("gone", { startedAtMs: T0 });
    expect(bench.last.reports).toEqual([]);
    expect(bench.steps).toEqual([]);
    const early = new Bench()
      .list()
      .assign(assignment())
      .ended("create")
      .seen("gone")
      .ended("start");
    expect(early.steps).toEqual(["start"]);
    expect(early.ended("start").report).toMatchObject({ state: "running", attempts: 1 });
  });

  test("a late word of an earlier container is not taken for this one", () => {
    const bench = new Bench().running().seen("gone");
    expect(bench.last.reports).toEqual([]);
    expect(bench.steps).toEqual(["start"]);
    expect(bench.ended("start").report).toMatchObject({ state: "running", attempts: 1 });
  });

  test("a container that goes before its start is made again", () => {
    const bench = new Bench().list().assign(assignment()).ended("create").seen("gone");
    expect(bench.ended("start", refused).steps).toEqual(["create"]);
    expect(bench.ended("create").ended("start").report).toMatchObject({
      state: "running",
      attempts: 1,
    });
  });

  test("a list proves nothing against a step in flight", () => {
    const bench = new Bench().list().assign(assignment()).ended("create").after(60_000).list();
    expect(bench.last).toEqual(NOTHING);
    expect(bench.ended("start").steps).toEqual([]);
    expect(bench.report).toMatchObject({ state: "running", attempts: 1 });
  });

  test("a container that is not in the list is gone, unless the list may be older than its start", () => {
    const bench = new Bench().running().after(5_000).list();
    expect(bench.last).toEqual(NOTHING);
    expect(bench.after(5_000).list().report.message).toContain("removed by somebody else");
  });
});
