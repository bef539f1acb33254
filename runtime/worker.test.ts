import { describe, expect, test } from "vitest";
import { taskId } from "../state/ids.ts";
import { MAX_CREATING, MAX_STARTING, Worker } from "./worker.ts";
import { STEPS } from "./worker-task.ts";
import {
  ALWAYS,
  Bench,
  NEVER,
  ON_FAILURE,
  T0,
  assignment,
  done,
  imageMissing,
  refused,
  report,
  status,
  task,
  unavailable,
  NOTHING,
} from "../test/fixtures/worker-bench.ts";

describe("from assignment to running", () => {
  test("each step is reported as it is taken, and written to disk", () => {
    const bench = new Bench().list().assign(assignment());
    expect(bench.last.steps).toEqual([{ kind: "create", spec: assignment().container }]);
    expect(bench.last.reports).toEqual([report({ state: "preparing" })]);
    bench.ended("create");
    expect(bench.last.steps).toEqual([{ kind: "start", task }]);
    expect(bench.last.reports).toEqual([report({ state: "starting" })]);
    bench.ended("start");
    const runs = report({ state: "running", attempts: 1, startedAtMs: T0 });
    expect(bench.last).toEqual({
      steps: [],
      lease: null,
      reports: [runs],
      memory: { assignments: [assignment()], reports: [runs], ending: [] },
      wakeAtMs: null,
    });
    expect(bench.worker.live()).toBe(1);
  });

  test("nothing is started before the first list", () => {
    const bench = new Bench().full(assignment()).after(60_000);
    expect(bench.steps).toEqual([]);
    expect(bench.list().steps).toEqual(["create"]);
  });

  test("the watch may tell of the start before the engine answers it", () => {
    const bench = new Bench().list().assign(assignment()).ended("create");
    bench.seen("running", { startedAtMs: T0 });
    expect(bench.report).toMatchObject({ state: "running", attempts: 1 });
    bench.ended("start");
    expect(bench.last.reports).toEqual([]);
    expect(bench.report.attempts).toBe(1);
  });

  test("the watch may tell even of the exit before the engine answers the start", () => {
    const bench = new Bench().list().assign(assignment()).ended("create").exits(3);
    expect(bench.steps).toEqual([]);
    bench.ended("start");
    expect(bench.report).toMatchObject({
      state: "running",
      healthy: false,
      attempts: 1,
      exitCode: 3,
    });
    expect(bench.restarted().report).toMatchObject({ healthy: null, attempts: 2 });
  });

  test("what the watch has seen, a late answer does not undo", () => {
    const started = new Bench().list().assign(assignment()).ended("create");
    started.seen("running", { startedAtMs: T0 }).ended("start", unavailable);
    expect(started.last).toMatchObject({ steps: [], reports: [], wakeAtMs: null });
    for (const outcome of [done, refused]) {
      const bench = new Bench().list().assign(assignment());
      bench.seen("running", { startedAtMs: T0 }).ended("create", outcome);
      expect(bench.last.steps).toEqual([]);
      expect(bench.report).toMatchObject({ state: "running", attempts: 1 });
    }
  });

  test("the same assignment again changes nothing, in whatever order its keys come", () => {
    const bench = new Bench().running();
    const { container } = assignment();
    bench.assign(assignment({ container: { ...container, environment: { B: "2", A: "1" } } }));
    expect(bench.last).toEqual(NOTHING);
  });

  test("a task keeps the spec that it was first told, whatever its node is called later", () => {
    const bench = new Bench().running();
    const { container } = assignment();
    const renamed = { ...container, publishAddress: "127.0.0.9" };
    bench.assign(assignment({ container: renamed }));
    expect(bench.last).toEqual(NOTHING);
    bench.assign(assignment({ container: renamed, desired: "stopped" }));
    expect(bench.last.steps).toMatchObject([{ kind: "stop" }]);
    expect(bench.last.memory?.assignments).toMatchObject([{ container, desired: "stopped" }]);
  });

  test("steps of unknown tasks, or others than are in flight, are bugs", () => {
    expect(() => new Bench().list().ended("start")).toThrow("does not have");
    expect(() => new Bench().list().assign(assignment()).ended("start")).toThrow(
      "create was in flight",
    );
  });

  test("hundreds of assignments do not stampede the engine, and starts overtake creates", () => {
    const all = Array.from({ length: 500 }, (_, i) => assignment({ task: taskId(`${i}-0`) }));
    const worker = new Worker({ memory: null, leaseUntilMs: 0 });
    worker.listed([], T0);
    let flying = [...worker.assign({ full: true, upsert: all, remove: [] }, T0).steps];
    expect(flying.length).toBe(MAX_CREATING);
    let most = 0;
    let startsSeen = 0;
    let overtook = 0;
    while (flying.length > 0) {
      most = Math.max(most, flying.length);
      const [step, ...rest] = flying;
      if (step === undefined) break;
      const id = step.kind === "create" ? step.spec.task : step.task;
      if (step.kind === "start") startsSeen += 1;
      const { steps } = worker.stepDone(id, step.kind, done, T0);
      if (step.kind === "create" && steps[0]?.kind === "start") overtook += 1;
      flying = [...rest, ...steps];
    }
    expect(most).toBeLessThanOrEqual(MAX_STARTING);
    expect(startsSeen).toBe(500);
    expect(overtook).toBe(500);
    expect(worker.reports().every(({ state }) => state === "running")).toBe(true);
  });
});

describe("what the restart policy makes of an exit", () => {
  test.each([
    { restart: NEVER, code: 0, state: "complete", message: "" },
    { restart: NEVER, code: 3, state: "failed", message: "exited with code 3" },
    { restart: ON_FAILURE, code: 0, state: "complete", message: "" },
    {
      restart: ON_FAILURE,
      code: 3,
      state: "running",
      message: "restarting in 10 s after exit code 3",
    },
    { restart: ALWAYS, code: 0, state: "running", message: "restarting in 10 s after exit code 0" },
    { restart: ALWAYS, code: 3, state: "running", message: "restarting in 10 s after exit code 3" },
  ])("$restart.condition, exit code $code: $state", ({ restart, code, state, message }) => {
    const bench = new Bench().running({ restart }).after(1_000).exits(code);
    const over = state !== "running";
    expect(bench.last.reports).toEqual([
      report({
        state: over ? (code === 0 ? "complete" : "failed") : "running",
        healthy: over ? null : false,
        attempts: 1,
        exitCode: code,
        message,
        startedAtMs: T0,
        finishedAtMs: over ? T0 + 1_000 : null,
      }),
    ]);
    expect(bench.steps).toEqual([]);
    expect(bench.last.wakeAtMs).toBe(over ? null : T0 + 11_000);
    expect(bench.worker.live()).toBe(over ? 0 : 1);
  });

  test("what the engine says of the exit is passed on", () => {
    expect(new Bench().running().exits(137, "out of memory").report.message).toBe(
      "restarting in 10 s after exit code 137 (out of memory)",
    );
    expect(new Bench().running({ restart: NEVER }).exits(137, "out of memory").report.message).toBe(
      "exited with code 137 (out of memory)",
    );
  });

  test("it restarts when its time has come, not before", () => {
    const bench = new Bench().running().exits(3);
    expect(bench.after(9_999).steps).toEqual([]);
    expect(bench.last.wakeAtMs).toBe(T0 + 10_000);
    expect(bench.after(1).steps).toEqual(["start"]);
    expect(bench.ended("start").last.reports).toEqual([
      report({ state: "running", attempts: 2, exitCode: 3, startedAtMs: T0 + 10_000 }),
    ]);
  });

  test("the wait doubles up to a minute, and a long run sets it back", () => {
    const bench = new Bench().running();
    const waits = [0, 1, 2, 3, 4].map(() => {
      bench.exits(1);
      const waitMs = (bench.last.wakeAtMs ?? 0) - bench.now;
      bench.restarted();
      return waitMs;
    });
    expect(waits).toEqual([10_000, 20_000, 40_000, 60_000, 60_000]);
    bench.after(5_000).exits(1);
    expect((bench.last.wakeAtMs ?? 0) - bench.now).toBe(10_000);
  });

  test("more restarts in a row than max_attempts fail the task", () => {
    const bench = new Bench().running({ restart: { ...ALWAYS, maxAttempts: 3 } });
    for (let i = 0; i < 3; i++) bench.exits(3).restarted();
    expect(bench.report).toMatchObject({ state: "running", attempts: 4 });
    expect(bench.exits(3).report).toMatchObject({
      state: "failed",
      exitCode: 3,
      attempts: 4,
      message: "exited with code 3 after 4 attempts in a row",
    });
    expect(bench.after(100_000).steps).toEqual([]);
  });

  test("a container removed by somebody else is an exit, and is made again", () => {
    const bench = new Bench().running().seen("gone", { startedAtMs: T0 });
    expect(bench.report).toMatchObject({ healthy: false, exitCode: null });
    expect(bench.report.message).toBe(
      "restarting in 10 s: its container was removed by somebody else",
    );
    expect(bench.after(10_000).steps).toEqual(["create"]);
    expect(bench.ended("create").steps).toEqual(["start"]);
    expect(bench.ended("start").report).toMatchObject({
      state: "running",
      healthy: null,
      attempts: 2,
    });
    expect(
      new Bench().running({ restart: NEVER }).seen("gone", { startedAtMs: T0 }).report,
    ).toMatchObject({
      state: "failed",
      message: "its container was removed by somebody else",
    });
  });

  test("an exit told twice, by watch and list, is one", () => {
    const bench = new Bench().running().after(1_000).exits(3);
    const exit = status("exited", { exitCode: 3, startedAtMs: T0, finishedAtMs: bench.now });
    bench.list(exit);
    expect(bench.last.reports).toEqual([]);
    bench.restarted();
    expect(bench.list(exit).last.reports).toEqual([]);
    expect(bench.report).toMatchObject({ state: "running", healthy: null, attempts: 2 });
  });

  test("a list that is older than an exit does not bring the run back", () => {
    const bench = new Bench().running().after(1_000).exits(3);
    bench.list(status("running", { startedAtMs: T0 }));
    expect(bench.report.healthy).toBe(false);
    expect(bench.after(10_000).steps).toEqual(["start"]);
  });

  test("a clock that is set back does not prolong the wait", () => {
    const bench = new Bench().running().exits(3).after(-500_000);
    expect(bench.last.wakeAtMs).toBe(bench.now + 10_000);
    expect(bench.after(10_000).steps).toEqual(["start"]);
  });
});

describe("an engine that fails", () => {
  test.each([
    { step: "create", outcome: imageMissing, message: "There is no image x." },
    { step: "create", outcome: refused, message: "Port 80/tcp is in use." },
    { step: "start", outcome: refused, message: "Port 80/tcp is in use." },
  ] as const)(
    "$step, $outcome.fault.code: rejected before it ever ran",
    ({ step, outcome, message }) => {
      const bench = new Bench().list().assign(assignment());
      if (step === "start") bench.ended("create");
      bench.ended(step, outcome);
      expect(bench.report).toMatchObject({ state: "rejected", message, finishedAtMs: T0 });
      expect(bench.steps).toEqual([]);
    },
  );

  test.each(["create", "start"] as const)(
    "%s: no answer is asked for again, ever slower",
    (step) => {
      const bench = new Bench().list().assign(assignment());
      if (step === "start") bench.ended("create");
      const { state } = bench.report;
      const waits = [0, 1, 2, 3, 4, 5, 6].map(() => {
        bench.ended(step, unavailable);
        const waitMs = (bench.last.wakeAtMs ?? 0) - bench.now;
        expect(bench.after(waitMs).steps).toEqual([step]);
        return waitMs;
      });
      expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
      expect(bench.report).toEqual(
        report({ state, message: "Docker does not answer; trying again" }),
      );
      expect(bench.ended(step).report.message).toBe("");
    },
  );

  test("a reconnect ends the wait for an engine that did not answer", () => {
    const bench = new Bench().list().assign(assignment()).ended("create", unavailable);
    expect(bench.list().steps).toEqual(["create"]);
  });

  test("a refused restart is an attempt that failed", () => {
    const bench = new Bench().running({ restart: { ...ALWAYS, maxAttempts: 2 } }).exits(3);
    bench.after(10_000).ended("start", refused);
    expect(bench.report).toMatchObject({ state: "running", healthy: false, attempts: 2 });
    expect(bench.report.message).toBe("restarting in 20 s: Port 80/tcp is in use");
    // The container may be what is missing.
    expect(bench.after(20_000).steps).toEqual(["create"]);
    bench.ended("create").ended("start", refused);
    expect(bench.report).toMatchObject({ state: "failed", attempts: 3 });
    expect(bench.report.message).toBe("Port 80/tcp is in use after 3 attempts in a row");
  });
});

test("only a task that is wanted is created or started; only one that may run is stopped", () => {
  const cells = Object.entries(STEPS).flatMap(([goal, row]) =>
    Object.entries(row).map(([container, step]) => ({ goal, container, step })),
  );
  const starts = cells.filter(({ step }) => step === "create" || step === "start");
  expect(new Set(starts.map(({ goal }) => goal))).toEqual(new Set(["run"]));
  const stops = cells.filter(({ step }) => step === "stop");
  expect(new Set(stops.map(({ container }) => container))).toEqual(new Set(["running", "unknown"]));
  const removes = cells.filter(({ step }) => step === "remove");
  expect(removes.map(({ goal, container }) => `${goal} ${container}`)).toEqual([
    "stop created",
    "remove doubtful",
    "remove created",
    "remove exited",
  ]);
});
