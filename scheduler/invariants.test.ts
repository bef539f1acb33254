import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { portKey } from "../state/allocation.ts";
import type { Outcome } from "../state/cluster.ts";
import { ClusterState, decodeEnvelope, encodeEnvelope } from "../state/cluster.ts";
import type { Command, Envelope, PlanStep } from "../state/command.ts";
import type { NodeId, TaskId } from "../state/ids.ts";
import { taskId } from "../state/ids.ts";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task, TaskState } from "../state/task.ts";
import { isTerminal, TRANSITIONS } from "../state/task.ts";
import { idOf, jobSpec, nodeFacts, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { schedule } from "./schedule.ts";

/** What may happen; numbers pick among what there is when it happens. */
type Action =
  | {
      readonly kind: "admit";
      readonly node: number;
      readonly size: number;
      readonly mayWork: boolean;
    }
  | { readonly kind: "facts"; readonly node: number; readonly size: number }
  | { readonly kind: "liveness"; readonly node: number; readonly down: boolean }
  | { readonly kind: "leave" | "remove"; readonly node: number }
  | {
      readonly kind: "put";
      readonly job: number;
      readonly services: readonly ServiceSpec[];
      readonly ifVersion: number | null;
    }
  | { readonly kind: "job-stop"; readonly job: number; readonly service: string | null }
  | { readonly kind: "task-stop"; readonly task: number }
  | {
      readonly kind: "report";
      readonly task: number;
      readonly state: TaskState;
      readonly attempts: number;
    }
  | { readonly kind: "pass"; readonly budget: number }
  /** A plan made from an older state: the steps that a pass gave then. */
  | { readonly kind: "stale-plan"; readonly age: number }
  | {
      readonly kind: "odd-plan";
      readonly task: number;
      readonly node: number;
      readonly slot: number;
      readonly host: number;
    }
  | { readonly kind: "work" }
  | { readonly kind: "wait"; readonly ms: number };

const NODES = ["a", "b", "c", "d"];
const JOBS = ["j", "k"];
const SERVICES = ["s", "t"];
const STATES: readonly TaskState[] = [
  "pending",
  "assigned",
  "preparing",
  "starting",
  "running",
  "stopping",
  "complete",
  "failed",
  "stopped",
  "lost",
  "rejected",
  "orphaned",
];

const service: fc.Arbitrary<ServiceSpec> = fc
  .record({
    replicas: fc.nat(6),
    image: fc.constantFrom("nginx:1", "nginx:2"),
    cpuMilli: fc.constantFrom(0, 300, 900),
    memoryMib: fc.constantFrom(0, 100, 700),
    hosts: fc.constantFrom([], [null], [8080], [null, 20_001], [null, null]),
    condition: fc.constantFrom("any" as const, "on-failure" as const, "none" as const),
  })
  .map(({ replicas, image, cpuMilli, memoryMib, hosts, condition }) =>
    serviceSpec("s", {
      replicas,
      image,
      reservations: { cpuMilli, memoryMib, diskMib: 0 },
      ports: hosts.map((host, i) => ({ container: 80 + i, host, protocol: "tcp" as const })),
      restart: { condition, delayMs: 0, maxAttempts: null, windowMs: 0 },
    }),
  );

const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({
    kind: fc.constant("admit" as const),
    node: fc.nat(3),
    size: fc.nat(3),
    mayWork: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("facts" as const), node: fc.nat(3), size: fc.nat(3) }),
  fc.record({ kind: fc.constant("liveness" as const), node: fc.nat(3), down: fc.boolean() }),
  fc.record({ kind: fc.constant("leave" as const), node: fc.nat(3) }),
  fc.record({ kind: fc.constant("remove" as const), node: fc.nat(3) }),
  fc.record({
    kind: fc.constant("put" as const),
    job: fc.nat(1),
    services: fc.array(service, { minLength: 1, maxLength: 2 }),
    ifVersion: fc.option(fc.nat(3), { freq: 5 }),
  }),
  fc.record({
    kind: fc.constant("job-stop" as const),
    job: fc.nat(1),
    service: fc.option(fc.constantFrom(...SERVICES)),
  }),
  fc.record({ kind: fc.constant("task-stop" as const), task: fc.nat() }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("report" as const),
      task: fc.nat(),
      state: fc.constantFrom(...STATES),
      attempts: fc.nat(3),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("pass" as const),
      budget: fc.integer({ min: 1, max: 20 }),
    }),
  },
  fc.record({ kind: fc.constant("stale-plan" as const), age: fc.nat(5) }),
  fc.record({
    kind: fc.constant("odd-plan" as const),
    task: fc.nat(),
    node: fc.nat(3),
    slot: fc.integer({ min: -1, max: 7 }),
    host: fc.constantFrom(20_000, 20_001, 20_002, 1),
  }),
  { weight: 2, arbitrary: fc.constant({ kind: "work" as const }) },
  fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(70_000) }),
);

function pickTask(state: ClusterState, n: number): TaskId {
  const ids = [...state.tasks.keys()];
  return ids[n % Math.max(1, ids.length)] ?? taskId("none-0");
}

function facts(node: number, size: number): ReturnType<typeof nodeFacts> {
  return nodeFacts(NODES[node] ?? "a", {
    resources: { cpuMilli: 1000 * size, memoryMib: 800 * size, diskMib: 0 },
    portRange: { first: 20_000, last: 20_002 },
  });
}

function perform(cluster: TestCluster, step: Action, plans: (readonly PlanStep[])[]): void {
  const { state } = cluster;
  switch (step.kind) {
    case "admit":
      cluster.admitWith(NODES[step.node] ?? "a", {
        ...facts(step.node, step.size),
        mayWork: step.mayWork,
      });
      break;
    case "facts":
      cluster.apply({
        kind: "node-facts",
        node: idOf(NODES[step.node] ?? "a"),
        facts: facts(step.node, step.size),
      });
      break;
    case "liveness":
      cluster.liveness(NODES[step.node] ?? "a", step.down ? "down" : "ready");
      break;
    case "leave":
      cluster.apply({ kind: "node-leave", node: idOf(NODES[step.node] ?? "a") });
      break;
    case "remove":
      cluster.apply({ kind: "node-remove", node: idOf(NODES[step.node] ?? "a") });
      break;
    case "put": {
      const services = step.services.map((spec, i) => ({ ...spec, name: SERVICES[i] ?? "s" }));
      const spec = jobSpec(JOBS[step.job] ?? "j", ...services);
      cluster.apply(
        { kind: "job-put", spec, ifVersion: step.ifVersion },
        `put ${cluster.log.length % 7}`,
      );
      break;
    }
    case "job-stop":
      cluster.apply({ kind: "job-stop", job: JOBS[step.job] ?? "j", service: step.service });
      break;
    case "task-stop":
      cluster.apply({ kind: "task-stop", task: pickTask(state, step.task) });
      break;
    case "report": {
      const task = state.tasks.get(pickTask(state, step.task));
      if (task !== undefined) cluster.report(task, step.state, { attempts: step.attempts });
      break;
    }
    case "pass": {
      const { steps } = schedule(state, cluster.now, step.budget);
      plans.push(steps);
      passAndCheck(cluster, steps);
      break;
    }
    case "stale-plan":
      cluster.apply({ kind: "plan", steps: plans.at(-1 - step.age) ?? [] });
      break;
    case "odd-plan": {
      const task = pickTask(state, step.task);
      const node = idOf(NODES[step.node] ?? "a");
      const asked = state.jobs.get("j")?.spec.services[0]?.ports ?? [];
      const ports = asked.map(({ host, ...port }) => ({ ...port, host: host ?? step.host }));
      const version = state.jobs.get("j")?.version ?? 1;
      const previous = state.tasksOfSlot("j", "s", step.slot).at(-1)?.id ?? null;
      const slot = {
        job: "j",
        service: "s",
        slot: step.slot,
        version,
        previous,
        rejections: 0,
        message: "",
      };
      const steps: PlanStep[] = [
        { kind: "create", ...slot, node, ports },
        { kind: "create", ...slot, node: null, ports: [] },
        { kind: "assign", task, node, ports, message: "" },
        { kind: "forget", task },
      ];
      cluster.apply({ kind: "plan", steps });
      break;
    }
    case "work":
      cluster.work();
      break;
    case "wait":
      cluster.now += step.ms;
      break;
  }
}

/** Each step of a plan that is applied to the state it was made from takes effect: none is passed by. */
function passAndCheck(cluster: TestCluster, steps: readonly PlanStep[]): void {
  for (const step of steps) {
    expect(cluster.apply({ kind: "plan", steps: [step] })).toEqual({
      kind: "done",
      changed: true,
      version: null,
    });
  }
}

function checkAllocations(state: ClusterState): void {
  const placed = new Map<NodeId, Task[]>([...state.nodes.keys()].map((node) => [node, []]));
  for (const task of state.tasks.values()) {
    if (task.node !== null && !isTerminal(task.state)) placed.get(task.node)?.push(task);
  }
  for (const [node, tasks] of placed) {
    const sum = (of: (task: Task) => number): number =>
      tasks.reduce((total, task) => total + of(task), 0);
    const ports = tasks.flatMap((task) => task.ports.map(portKey));
    expect(new Set(ports).size, "no host port twice").toBe(ports.length);
    expect(state.allocated(node)).toMatchObject({
      tasks: tasks.length,
      resources: {
        cpuMilli: sum((task) => task.spec.reservations.cpuMilli),
        memoryMib: sum((task) => task.spec.reservations.memoryMib),
        diskMib: sum((task) => task.spec.reservations.diskMib),
      },
      unreserved: {
        cpu: sum((task) => (task.spec.reservations.cpuMilli === 0 ? 1 : 0)),
        memory: sum((task) => (task.spec.reservations.memoryMib === 0 ? 1 : 0)),
      },
    });
    const held = state.allocated(node).hostPorts;
    expect([held.size, ports.filter((port) => !held.has(port))]).toEqual([ports.length, []]);
    const creation = [...state.tasks.values()].filter((task) => task.node === node);
    expect(state.tasksOfNode(node), "in the order of creation").toEqual(creation);
  }
}

function checkSlots(state: ClusterState): void {
  const counts = new Map<TaskState, number>();
  for (const task of state.tasks.values())
    counts.set(task.state, (counts.get(task.state) ?? 0) + 1);
  expect(STATES.map((each) => state.taskCount(each))).toEqual(
    STATES.map((each) => counts.get(each) ?? 0),
  );
  for (const job of state.jobs.keys()) {
    let total = 0;
    for (const slots of state.slotsOfJob(job).values()) {
      for (const tasks of slots.values()) {
        total += tasks.length;
        const live = tasks.filter((task) => !isTerminal(task.state) && task.desired === "running");
        expect(live.length, "at most one live task in a slot").toBeLessThanOrEqual(1);
      }
    }
    expect(total).toBe(state.tasksOfJob(job).length);
  }
}

/** What one command must not do to a task: a step back, another node, a wish to run again, an oversold node. */
function violations(before: Task | undefined, after: Task, state: ClusterState): string[] {
  const found: string[] = [];
  const node = after.node === null ? undefined : state.nodes.get(after.node);
  if (before !== undefined) {
    const forward = before.state === after.state || TRANSITIONS[before.state].includes(after.state);
    if (!forward) found.push(`${after.id}: ${before.state} to ${after.state}`);
    if (before.node !== null && before.node !== after.node) found.push(`${after.id} moved`);
    if (before.desired === "stopped" && after.desired === "running")
      found.push(`${after.id} wanted again`);
  }
  if (after.state !== "assigned" || before?.state === "assigned") return found;
  if (node?.liveness !== "ready" || node.leaving || !node.mayWork)
    return [...found, `${after.id}: its node takes no tasks`];
  const { cpuMilli, memoryMib } = state.allocated(node.id).resources;
  if (cpuMilli > node.resources.cpuMilli || memoryMib > node.resources.memoryMib)
    found.push(`${node.id} is oversold`);
  return found;
}

function checkAll(found: readonly string[], state: ClusterState): void {
  expect(found).toEqual([]);
  checkAllocations(state);
  checkSlots(state);
}

/** Checks every promise after every single command. */
class CheckedCluster extends TestCluster {
  override apply(command: Command, key: string | null = null): Outcome {
    const before = new Map(this.state.tasks);
    const outcome = super.apply(command, key);
    const found = [...this.state.tasks.values()].flatMap((task) => {
      const old = before.get(task.id);
      return old === task ? [] : violations(old, task, this.state);
    });
    checkAll(found, this.state);
    return outcome;
  }
}

describe("whatever happens", () => {
  it("keeps what the state promises, alike on every replica", () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 20, maxLength: 60, size: "max" }), (actions) => {
        const cluster = new CheckedCluster();
        const plans: (readonly PlanStep[])[] = [];
        // So that most runs have something to go wrong from the start.
        cluster.admit("a", "b");
        cluster.put("j", serviceSpec("s", { replicas: 4 }));
        cluster.settle();
        for (const step of actions) perform(cluster, step, plans);
        expect(replayed(cluster.log)).toEqual(facesOf(cluster.state));
      }),
      { numRuns: 100 },
    );
  });

  it("comes to rest with everything running that fits", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40, size: "max" }), (actions) => {
        const cluster = new TestCluster();
        const plans: (readonly PlanStep[])[] = [];
        for (const step of actions) perform(cluster, step, plans);
        // Every rejection's wait is over, nothing is in the future.
        for (const name of NODES) cluster.admitWith(name, nodeFacts(name));
        for (let i = 0; i < 20; i++) {
          cluster.now += 100_000;
          cluster.settle();
        }
        for (const job of JOBS) {
          cluster.put(job, serviceSpec("s", { replicas: 3, image: "nginx:9" }));
        }
        cluster.settle();
        for (const job of JOBS) {
          const live = cluster.live(job);
          expect(live.map((task) => `${task.state} ${task.spec.image}`)).toEqual(
            Array.from({ length: 3 }, () => "running nginx:9"),
          );
        }
        expect(schedule(cluster.state, cluster.now, 10)).toEqual({
          steps: [],
          more: false,
          wakeAtMs: null,
        });
      }),
      { numRuns: 100 },
    );
  });
});

/** Everything that two replicas must agree on. */
function facesOf(state: ClusterState): readonly unknown[] {
  return [
    state.hash(),
    [...state.tasks.values()],
    [...state.nodes.values()],
    [...state.jobs.values()],
  ];
}

/** Another replica gets the log as bytes. */
function replayed(log: readonly Envelope[]): readonly unknown[] {
  const state = new ClusterState();
  for (const [i, envelope] of log.entries())
    state.apply(i + 1, decodeEnvelope(encodeEnvelope(envelope)));
  return facesOf(state);
}
