import { describe, expect, it } from "vitest";
import type { NodeRecord } from "../../state/node-record.ts";
import { idOf, serviceSpec, TestCluster } from "../../test/fixtures/cluster.ts";
import { type AssignmentChange, assignmentChange, type Told } from "./assignments.ts";

const HTTP = { container: 80, host: 8080, protocol: "tcp" } as const;

class Worker {
  readonly cluster = new TestCluster();
  readonly told: Told = new Map();

  constructor() {
    this.cluster.admit("a", "b");
  }

  get record(): NodeRecord {
    const record = this.cluster.state.nodes.get(idOf("a"));
    if (record === undefined) throw new Error("node a was admitted");
    return record;
  }

  /** What node a is told now. */
  change(): AssignmentChange | null {
    return assignmentChange(this.told, this.record, this.cluster.state.tasksOfNode(idOf("a")));
  }

  /** A job of one task, placed on node a. */
  place(changes: Parameters<typeof serviceSpec>[1] = {}): void {
    const onA = { attribute: "node.name", operator: "==", value: "a" } as const;
    this.cluster.put("web", serviceSpec("front", { constraints: [onA], ...changes }));
    this.cluster.pass();
  }
}

describe("what a worker is told", () => {
  it("is nothing while nothing is placed on it", () => {
    expect(new Worker().change()).toBeNull();
  });

  it("is each of its tasks, once", () => {
    const worker = new Worker();
    worker.place();
    const { id } = worker.cluster.task("web", "front", 1);
    expect(worker.change()).toMatchObject({
      upsert: [{ task: id, desired: "running", stopGraceMs: 10_000 }],
      remove: [],
    });
    expect(worker.change()).toBeNull();
    worker.cluster.report(worker.cluster.task("web", "front", 1), "running");
    expect(worker.change()).toBeNull();
  });

  it("is nothing of other nodes' tasks", () => {
    const worker = new Worker();
    worker.place({ constraints: [{ attribute: "node.name", operator: "==", value: "b" }] });
    expect(worker.cluster.task("web", "front", 1).node).toBe(idOf("b"));
    expect(worker.change()).toBeNull();
  });

  it("is to stop a task, again only once, and to go on keeping what is over", () => {
    const worker = new Worker();
    worker.place();
    worker.change();
    const { id } = worker.cluster.task("web", "front", 1);
    worker.cluster.apply({ kind: "job-stop", job: "web", service: null });
    worker.cluster.pass();
    expect(worker.change()).toMatchObject({ upsert: [{ task: id, desired: "stopped" }] });
    worker.cluster.report(worker.cluster.task("web", "front", 1), "stopped");
    expect(worker.change()).toBeNull();
  });

  it("is that a task which failed by itself is not to run", () => {
    const worker = new Worker();
    worker.place();
    worker.change();
    const task = worker.cluster.task("web", "front", 1);
    worker.cluster.report(task, "failed");
    expect(worker.change()).toMatchObject({ upsert: [{ task: task.id, desired: "stopped" }] });
  });

  it.each(["rejected", "lost"] as const)("is to forget a task that was %s", (end) => {
    const worker = new Worker();
    worker.place();
    worker.change();
    const task = worker.cluster.task("web", "front", 1);
    if (end === "lost") worker.cluster.liveness("a", "down");
    else worker.cluster.report(task, end);
    expect(worker.cluster.state.tasks.get(task.id)?.state).toBe(end);
    expect(worker.change()).toEqual({ upsert: [], remove: [task.id] });
    expect(worker.change()).toBeNull();
  });

  it("is to forget a task that history forgot", () => {
    const worker = new Worker();
    worker.place();
    worker.change();
    const task = worker.cluster.task("web", "front", 1);
    worker.cluster.apply({ kind: "task-stop", task: task.id });
    worker.cluster.report(task, "stopped");
    worker.cluster.now += 60_000;
    worker.cluster.pass();
    const next = worker.cluster.task("web", "front", 1);
    worker.cluster.apply({ kind: "plan", steps: [{ kind: "forget", task: task.id }] });
    expect(worker.cluster.state.tasks.has(task.id)).toBe(false);
    expect(worker.change()).toMatchObject({ upsert: [{ task: next.id }], remove: [task.id] });
  });
});

function environment(changes: Parameters<typeof serviceSpec>[1]): Readonly<Record<string, string>> {
  const worker = new Worker();
  worker.place(changes);
  return worker.change()?.upsert[0]?.container.environment ?? {};
}

describe("a task's variables", () => {
  it("name the task, its slot and its node", () => {
    const worker = new Worker();
    worker.place({ environment: { GREETING: "hello", ORCH_TASK: "mine" } });
    const assignment = worker.change()?.upsert[0];
    expect(assignment?.container).toMatchObject({
      slot: "web.front.1",
      job: "web",
      service: "front",
      publishAddress: "10.0.0.1",
      environment: {
        GREETING: "hello",
        ORCH_JOB: "web",
        ORCH_SERVICE: "front",
        ORCH_SLOT: "web.front.1",
        // The user's own cannot hide orch's.
        ORCH_TASK: assignment?.task,
        ORCH_NODE: "id-a",
        ORCH_NODE_NAME: "a",
      },
    });
  });

  it("give a container its own port, on every address", () => {
    expect(environment({ ports: [HTTP] })).toMatchObject({
      ORCH_PORT_80: "80",
      ORCH_PUBLISH_ADDRESS: "0.0.0.0",
    });
  });

  it("give a process the machine's port, on the published address", () => {
    expect(environment({ ports: [HTTP], image: null, command: ["serve"] })).toMatchObject({
      ORCH_PORT_80: "8080",
      ORCH_PUBLISH_ADDRESS: "10.0.0.1",
    });
  });
});
