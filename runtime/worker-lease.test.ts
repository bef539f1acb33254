import { describe, expect, it } from "vitest";
import { LEASE_MS, LEASE_START_MS } from "../state/lease.ts";
import { assignment, Bench, status, task, T0, unavailable } from "../test/fixtures/worker-bench.ts";

const LEASED = { leased: true } as const;

/** Runs a leased task under a lease that was asked for just now. */
function leased(): Bench {
  const bench = new Bench().list();
  return bench.granted(LEASE_MS).assign(assignment(LEASED)).ended("create").ended("start");
}

describe("a leased task", () => {
  it("is created, and not started before there is a lease", () => {
    const bench = new Bench().list().assign(assignment(LEASED));
    expect(bench.steps).toEqual([]);
    expect(bench.worker.needsLease).toBe(true);
    bench.granted(LEASE_MS);
    expect(bench.steps).toEqual(["create"]);
    bench.ended("create");
    expect(bench.steps).toEqual(["start"]);
    bench.ended("start");
    expect(bench.report).toMatchObject({ state: "running", attempts: 1 });
  });

  it("is not started with what is left of a lease that is half over", () => {
    const bench = new Bench()
      .list()
      .granted(LEASE_START_MS - 1)
      .assign(assignment(LEASED));
    bench.ended("create");
    expect(bench.steps).toEqual([]);
    bench.granted(LEASE_MS);
    expect(bench.steps).toEqual(["start"]);
  });

  it("is stopped when the lease runs out, to the millisecond, and started again with the next", () => {
    const bench = leased();
    expect(bench.last.wakeAtMs).toBe(T0 + LEASE_MS);
    bench.after(LEASE_MS - 1);
    expect(bench.steps).toEqual([]);
    bench.after(1);
    expect(bench.last.steps).toEqual([{ kind: "stop", task, graceMs: 3_000 }]);
    bench.exits(143).ended("stop");
    expect(bench.report).toMatchObject({ state: "running", healthy: false, exitCode: 143 });
    expect(bench.report.message).toContain("lost its lease");
    expect(bench.worker.lacksLease).toBe(true);
    bench.after(60_000);
    expect(bench.steps, "no lease, no start").toEqual([]);
    bench.granted(LEASE_MS);
    expect(bench.steps).toEqual(["start"]);
    bench.ended("start");
    expect(bench.report).toMatchObject({ healthy: null, attempts: 2, message: "" });
    expect(bench.worker.lacksLease).toBe(false);
  });

  it("goes on untouched while leases follow each other, and a late one takes nothing back", () => {
    const bench = leased()
      .after(5_000)
      .granted(LEASE_MS)
      .granted(1_000)
      .after(LEASE_MS - 1);
    expect(bench.steps).toEqual([]);
    bench.after(1);
    expect(bench.steps).toEqual(["stop"]);
  });

  it("that ends at the word to stop has not completed its work", () => {
    const restart = { condition: "on-failure", delayMs: 500, maxAttempts: 0, windowMs: 0 } as const;
    const bench = new Bench().list().granted(LEASE_MS);
    bench
      .assign(assignment({ ...LEASED, restart }))
      .ended("create")
      .ended("start");
    bench.after(LEASE_MS).exits(0).ended("stop");
    expect(bench.report).toMatchObject({ state: "running", healthy: false });
    bench.granted(LEASE_MS);
    expect(bench.steps).toEqual(["start"]);
  });

  it("that its keeper ended while this process stood still is no failure", () => {
    const restart = { condition: "none", delayMs: 0, maxAttempts: 0, windowMs: 0 } as const;
    const bench = new Bench().list().granted(LEASE_MS);
    bench
      .assign(assignment({ ...LEASED, restart }))
      .ended("create")
      .ended("start");
    bench.now += 20_000;
    bench.exits(143);
    expect(bench.report).toMatchObject({ state: "running", healthy: false });
  });

  it("whose stop the engine does not hear is stopped again soon, however often", () => {
    const bench = leased().after(LEASE_MS);
    for (let i = 0; i < 20; i++) {
      bench.ended("stop", unavailable);
      bench.after(250);
      expect(bench.steps).toEqual(["stop"]);
    }
  });

  it("that crashes by itself under a lease is restarted by its policy", () => {
    const bench = leased();
    bench.exits(1);
    expect(bench.report.message).toMatch(/^restarting in/);
  });

  it("survives a restart of its node's process under the lease that this held", () => {
    const bench = leased();
    bench.reborn(T0 + LEASE_MS).list(status("running", { startedAtMs: T0 }));
    expect(bench.steps).toEqual([]);
    bench.after(LEASE_MS);
    expect(bench.steps).toEqual(["stop"]);
  });

  it("is stopped at the first look by a process that has no lease", () => {
    const bench = leased().reborn(0);
    bench.list(status("running", { startedAtMs: T0 }));
    expect(bench.steps).toEqual(["stop"]);
  });

  it("that no assignment names any more is remembered until it is gone, and ended by the next process", () => {
    const bench = leased().full();
    expect(bench.steps).toEqual(["stop"]);
    bench.reborn(0).list(status("running", { startedAtMs: T0 }));
    expect(bench.steps, "though nobody has told this process anything").toEqual(["stop"]);
    expect(bench.last.lease?.tasks, "and at once").toMatchObject([{ task, untilMs: 0 }]);
    bench.ended("stop").ended("remove");
    expect(bench.memory?.ending).toEqual([]);
    expect(bench.worker.isIdle).toBe(true);
  });
});

describe("what a keeper is told", () => {
  it("names a task before it is started, and until its container is gone", () => {
    const bench = new Bench().list().granted(LEASE_MS).assign(assignment(LEASED));
    const guarded = {
      untilMs: T0 + LEASE_MS,
      tasks: [{ task, graceMs: 3_000, untilMs: T0 + LEASE_MS }],
    };
    expect(bench.last.lease).toEqual(guarded);
    expect(bench.steps).toEqual(["create"]);
    bench.ended("create").ended("start");
    bench.granted(LEASE_MS + 1_000);
    const untilMs = T0 + LEASE_MS + 1_000;
    expect(bench.last.lease).toEqual({ untilMs, tasks: [{ task, graceMs: 3_000, untilMs }] });
    bench.full().after(5_000).granted(LEASE_MS);
    const later = { untilMs: T0 + 5_000 + LEASE_MS, tasks: [{ task, graceMs: 3_000, untilMs }] };
    expect(bench.last.lease, "later leases are not for what is to end").toEqual(later);
    bench.ended("stop");
    expect(bench.last.lease, "its container is there still").toBeNull();
    bench.ended("remove");
    expect(bench.last.lease?.tasks).toEqual([]);
  });

  it("says nothing of tasks that need no lease", () => {
    const bench = new Bench().list().assign(assignment()).ended("create").ended("start");
    bench.granted(LEASE_MS);
    expect(bench.last.lease).toBeNull();
    expect(bench.worker.needsLease).toBe(false);
    bench.after(2 * LEASE_MS);
    expect(bench.steps).toEqual([]);
  });
});
