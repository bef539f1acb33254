import type { Mutant } from "./mutant.ts";

/** Bugs of partitions: decision 0026. */
export const LEASE_MUTANTS: readonly Mutant[] = [
  {
    item: "leases",
    name: "a lost task's slot is not fenced",
    file: "state/lease.ts",
    find: "return latestMs + Math.ceil(latestMs / DRIFT_SHARE) + SLACK_MS;",
    replace: "return latestMs < 0 ? DRIFT_SHARE + SLACK_MS : 0;",
  },
  {
    item: "leases",
    name: "the fence counts from before its node went down",
    file: "node/core/unseen.ts",
    find: "readonly since: UnseenSince = (task) => this.#since.get(task) ?? this.#knownSinceMs;",
    replace:
      "readonly since: UnseenSince = (task) => (this.#since.get(task) ?? this.#knownSinceMs) - 60_000;",
  },
  {
    item: "leases",
    name: "nothing of a slot's lost tasks but the last is fenced",
    file: "scheduler/fence.ts",
    find: "for (const task of tasks) {",
    replace: "for (const task of tasks.slice(-1)) {",
  },
  {
    item: "leases",
    name: "a worker runs on without a lease",
    file: "runtime/worker-lease.ts",
    find: "const isHalted = now >= this.#untilMs;",
    replace: "const isHalted = now < 0;",
    unfound: "its keeper ends them, which waits a second; runtime/worker-lease.test.ts finds it",
  },
  {
    item: "leases",
    name: "there is no keeper",
    file: "test/sim/keeper.ts",
    find: "if (guard !== this.#guard ||",
    replace: "if (guard.untilMs > 0 ||",
  },
  {
    item: "leases",
    name: "a lease counts from when its answer comes",
    file: "node/core/session-client.ts",
    find: "return askedAtMs + LEASE_MS;",
    replace: "return askedAtMs + 6 * LEASE_MS;",
  },
  {
    item: "leases",
    name: "a lease is granted without asking a quorum",
    file: "node/core/manager.ts",
    find: "if (lease !== null) this.#leases.push({ from, session, lease });",
    replace: "if (lease !== null) this.#grant({ from, session, lease });",
    unfound:
      "a manager that no quorum hears gives up within the margin of the fence; node/leases.test.ts finds it",
  },
  {
    item: "leases",
    name: "at most one: a lost task is taken back beside the one that has its place",
    file: "state/apply-return.ts",
    find: 'if (task.spec.partition === "at-most-one") {',
    replace: 'if (task.id === "at-most-one") {',
  },
  {
    item: "leases",
    name: "at least one: a lost task is not taken back",
    file: "state/apply-return.ts",
    find: "if (refusal === null) take(",
    replace: 'if (refusal === "") take(',
  },
  {
    item: "leases",
    name: "a node is told to drop its tasks before they could be taken back",
    file: "node/core/sessions.ts",
    find: 'if (record.liveness === "down" && !session.isHeld) return null;',
    replace: "",
  },
];
