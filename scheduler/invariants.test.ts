import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { portKey } from "../state/allocation.ts";
import type { Outcome } from "../state/cluster.ts";
import { ClusterState, decodeEnvelope, encodeEnvelope } from "../state/cluster.ts";
import type { Command, Envelope, PlanStep } from "../state/command.ts";
import type { NodeId } from "../state/ids.ts";
import type { Task, TaskState } from "../state/task.ts";
import { isTerminal, TRANSITIONS } from "../state/task.ts";
import { nodeFacts, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { action, JOBS, NODES, perform, STATES } from "../test/fixtures/random-cluster.ts";
import { schedule } from "./schedule.ts";

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
    const isBack =
      before.state === "lost" && after.state === "running" && node?.liveness === "ready";
    const forward =
      before.state === after.state || TRANSITIONS[before.state].includes(after.state) || isBack;
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
        expect(schedule(cluster.state, cluster.now, 10, cluster.caution)).toEqual({
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
