import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AssertionError, present } from "../lib/assert.ts";
import { idOf, serviceSpec, TestCluster } from "../test/fixtures/cluster.ts";
import { action, JOBS, NODES, perform, STATES } from "../test/fixtures/random-cluster.ts";
import { portKey } from "./allocation.ts";
import { ClusterState, decodeEnvelope, encodeEnvelope, MAX_KEYS } from "./cluster.ts";
import type { Envelope, PlanStep } from "./command.ts";
import { taskId } from "./ids.ts";
import { RollingHash } from "./rolling-hash.ts";
import { SnapshotError } from "./snapshot-shape.ts";
import { MAX_CHUNK_BYTES, snapshotChunks, SnapshotReader } from "./snapshot.ts";

function write(state: ClusterState): readonly Uint8Array[] {
  return [...snapshotChunks(state.freeze())];
}

function read(chunks: readonly Uint8Array[]): ClusterState {
  const reader = new SnapshotReader();
  for (const chunk of chunks) reader.add(chunk);
  return reader.finish();
}

function textOf(chunk: Uint8Array | undefined): string {
  return new TextDecoder().decode(chunk);
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The last chunk for these, as an orch would have written it that made them. */
function sealed(chunks: readonly Uint8Array[]): readonly Uint8Array[] {
  const sum = new RollingHash();
  for (const chunk of chunks) sum.add(textOf(chunk));
  return [...chunks, bytesOf(JSON.stringify({ chunks: chunks.length, hash: sum.digest() }))];
}

/** What a snapshot's reader says to these chunks; "a state" when it takes them. Other errors are passed on. */
function verdict(chunks: readonly Uint8Array[]): string {
  try {
    read(chunks);
    return "a state";
  } catch (error) {
    if (error instanceof SnapshotError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

function replay(log: readonly Envelope[]): ClusterState {
  const state = new ClusterState();
  for (const [i, envelope] of log.entries()) state.apply(i + 1, again(envelope));
  return state;
}

/** As another node reads it from its log. */
function again(envelope: Envelope): Envelope {
  return decodeEnvelope(encodeEnvelope(envelope));
}

/** Everything that a state tells, in the order in which it does. */
function facesOf(state: ClusterState): readonly unknown[] {
  const { clusterId, joinSecret, lastIndex, membersIndex, brakeReleasedIndex } = state;
  return [
    [clusterId, joinSecret, lastIndex, membersIndex, brakeReleasedIndex, state.hash()],
    // As text, so that the order of fields counts: the hash runs over it.
    JSON.stringify([[...state.nodes], [...state.jobs]]),
    [...state.tasks],
    STATES.map((each) => state.taskCount(each)),
    NODES.map((name) => [state.findNode(name), state.findNode(idOf(name))]),
    Array.from({ length: 100 }, (_, id) => state.isRetired(id)),
    JOBS.map((job) => [
      state.tasksOfJob(job),
      [...state.slotsOfJob(job)].map(([service, slots]) => [service, [...slots]]),
    ]),
    NODES.map((name) => {
      const { hostPorts, ...allocation } = state.allocated(idOf(name));
      const tasks = state.tasksOfNode(idOf(name));
      const held = tasks.flatMap((task) => task.ports.map((p) => hostPorts.has(portKey(p))));
      return [tasks, { ...allocation }, hostPorts.size, held];
    }),
  ];
}

/** Nodes, two jobs of which one changed, tasks at work, over and pending, retired ids, answers. */
function busy(): TestCluster {
  const cluster = new TestCluster();
  cluster.apply(
    { kind: "cluster-init", clusterId: "c1", joinSecret: "s", featureLevel: 1 },
    "init",
  );
  cluster.admit("b", "a", "c");
  cluster.admit("b");
  const ports = [{ container: 80, host: null, protocol: "tcp" }] as const;
  cluster.put("k", serviceSpec("t", { replicas: 2, ports }));
  cluster.put("j", serviceSpec("s", { replicas: 3, ports }), serviceSpec("t"));
  cluster.settle();
  cluster.put("j", serviceSpec("s", { replicas: 3, ports, image: "nginx:2" }), serviceSpec("t"));
  cluster.settle();
  cluster.report(cluster.task("k", "t", 1), "failed", { message: "cut \ud83d", exitCode: 3 });
  cluster.liveness("c", "down");
  cluster.apply({ kind: "brake-release" });
  cluster.apply({ kind: "job-stop", job: "gone", service: null }, "refused");
  cluster.apply({ kind: "job-stop", job: "j", service: "t" }, "done");
  return cluster;
}

describe("a snapshot", () => {
  it("gives back whatever state there is, and all goes on alike", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60, size: "max" }), fc.nat(), (actions, at) => {
        const cluster = new TestCluster();
        const plans: (readonly PlanStep[])[] = [];
        cluster.apply(
          { kind: "cluster-init", clusterId: "c1", joinSecret: "s", featureLevel: 1 },
          "init",
        );
        cluster.admit("a", "b");
        cluster.put("j", serviceSpec("s", { replicas: 4 }));
        cluster.settle();
        for (const step of actions) perform(cluster, step, plans);
        const point = at % (cluster.log.length + 1);

        const state = replay(cluster.log.slice(0, point));
        const frozen = state.freeze();
        const chunks = [...snapshotChunks(frozen)];
        const restored = read(chunks);
        expect(facesOf(restored)).toEqual(facesOf(state));
        expect(write(restored)).toEqual(chunks);
        for (const [i, envelope] of cluster.log.slice(point).entries()) {
          const index = point + i + 1;
          expect(restored.apply(index, again(envelope))).toEqual(
            state.apply(index, again(envelope)),
          );
          expect(restored.hash()).toBe(state.hash());
        }
        expect(facesOf(restored)).toEqual(facesOf(state));
        expect(write(restored)).toEqual(write(state));
        expect([...snapshotChunks(frozen)], "what is frozen stays").toEqual(chunks);
        // This one applied commands whose parts it shares with others, not read from bytes.
        expect(write(cluster.state)).toEqual(write(state));
      }),
      { numRuns: 60 },
    );
  });

  it("is one of an empty cluster, too", () => {
    expect(facesOf(read(write(new ClusterState())))).toEqual(facesOf(new ClusterState()));
  });

  it("keeps the order of slots whose first tasks are forgotten", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    cluster.put("j", serviceSpec("s", { replicas: 3 }), serviceSpec("t"));
    cluster.settle();
    const first = cluster.task("j", "s", 1);
    const last = cluster.task("j", "t", 1);
    cluster.apply({ kind: "task-stop", task: first.id });
    cluster.settle();
    const forgotten = { kind: "forget", task: first.id } as const;
    expect(cluster.apply({ kind: "plan", steps: [forgotten] })).toMatchObject({ changed: true });
    expect(cluster.state.tasksOfJob("j")).toContain(last);
    const slots = read(write(cluster.state)).slotsOfJob("j");
    expect([...slots].map(([service, numbers]) => [service, [...numbers.keys()]])).toEqual([
      ["s", [1, 2, 3]],
      ["t", [1]],
    ]);
  });

  it("shares specs as before, also those that no job has any more", () => {
    const cluster = busy();
    const state = read(write(cluster.state));
    const tasks = state.tasksOfJob("j").filter((task) => task.service === "s");
    const specs = (version: number): ReadonlySet<unknown> =>
      new Set(tasks.filter((task) => task.version === version).map((task) => task.spec));
    expect([specs(1).size, specs(2)]).toEqual([
      1,
      new Set([state.jobs.get("j")?.spec.services[0]]),
    ]);
    expect([...specs(1)]).toEqual([expect.objectContaining({ image: "nginx:1" })]);
    const written = write(cluster.state).map(textOf).join("\n");
    expect(written.split('"nginx:2"')).toHaveLength(2);
  });

  it("is the same whether equal specs are one object or several", () => {
    const cluster = new TestCluster();
    cluster.admit("a");
    const spec = serviceSpec("s");
    cluster.put("j", spec, serviceSpec("t"));
    cluster.settle();
    cluster.put("j", spec, serviceSpec("t", { image: "nginx:2" }));
    cluster.put("k", spec);
    cluster.settle();
    const chunks = write(cluster.state);
    expect(write(replay(cluster.log))).toEqual(chunks);
    const restored = read(chunks);
    expect(restored.tasksOfJob("j").find((task) => task.service === "s")?.spec).toBe(
      restored.jobs.get("k")?.spec.services[0],
    );
    expect(chunks.map(textOf).join("\n").split('"stopGraceMs"')).toHaveLength(4);
  });

  it("forgets the oldest keys next", () => {
    const cluster = new TestCluster();
    const stop = { kind: "task-stop", task: taskId("9-9") } as const;
    for (let i = 0; i < MAX_KEYS; i++) cluster.apply(stop, `k${i}`);
    const restored = read(write(cluster.state));
    restored.apply(MAX_KEYS + 1, { command: stop, timeMs: 1, key: "new", since: null });
    expect(restored.answered("k0", stop)).toBeUndefined();
    expect(restored.answered("k1", stop)).toEqual(cluster.state.answered("k1", stop));
    expect(restored.answered("k1", { ...stop, task: taskId("8-8") })).toMatchObject({
      fault: { code: "conflict" },
    });
  });

  it("has chunks of bounded size, whatever its rows are", () => {
    const cluster = new TestCluster();
    cluster.admitWith("a", { labels: { emoji: `"${"😀\\".repeat(60_000)}` } });
    const services = Array.from({ length: 1000 }, (_, i) =>
      serviceSpec(`s${i}`.padEnd(63, "x"), { environment: { A: "ü".repeat(300) } }),
    );
    cluster.put("j", ...services);
    cluster.put("k", serviceSpec("s", { replicas: 2500 }));
    cluster.apply({ kind: "job-stop", job: "j", service: null });
    cluster.pass(10_000);
    const chunks = write(cluster.state);
    const sizes = chunks.map((chunk) => chunk.length);
    expect(Math.max(...sizes)).toBeLessThan(MAX_CHUNK_BYTES / 2);
    const tasks = chunks.filter((chunk) => textOf(chunk).startsWith('{"section":"tasks"'));
    expect(tasks.length).toBeGreaterThan(3);
    expect(Math.max(...tasks.map((chunk) => chunk.length))).toBeLessThan(129 * 1024);
    expect(chunks.map(textOf).filter((text) => text.includes('"part":')).length).toBeGreaterThan(4);
    const restored = read(chunks);
    expect(restored.nodes).toEqual(cluster.state.nodes);
    expect(restored.jobs).toEqual(cluster.state.jobs);
    expect(write(restored)).toEqual(chunks);
  });
});

describe("a reader", () => {
  const whole = write(busy().state);
  const others = whole.slice(0, -1);
  const without = (i: number): readonly Uint8Array[] => whole.filter((_, at) => at !== i);
  const replaced = (i: number, chunk: Uint8Array): readonly Uint8Array[] => whole.with(i, chunk);

  it("takes what is whole", () => {
    expect(verdict(whole)).toBe("a state");
    expect(verdict(sealed(others))).toBe("a state");
    expect(whole.length).toBeGreaterThan(8);
  });

  it("refuses chunks that are missing, twice there, in another order, empty or cut off", () => {
    for (const [i, chunk] of whole.entries()) {
      const damaged: Readonly<Record<string, readonly Uint8Array[]>> = {
        missing: without(i),
        "all that follows missing": whole.slice(0, i),
        twice: whole.toSpliced(i, 0, chunk),
        later: [...without(i), chunk],
        sooner: [chunk, ...without(i)],
        "an empty one before": whole.toSpliced(i, 0, new Uint8Array()),
        empty: replaced(i, new Uint8Array()),
        half: replaced(i, chunk.subarray(0, chunk.length / 2)),
        "one byte short": replaced(i, chunk.subarray(0, -1)),
        "with a byte order mark": replaced(i, Uint8Array.from([0xef, 0xbb, 0xbf, ...chunk])),
        "too long": replaced(i, bytesOf(`${textOf(chunk)}${" ".repeat(MAX_CHUNK_BYTES)}`)),
      };
      for (const [how, chunks] of Object.entries(damaged)) {
        const same =
          chunks.length === whole.length && chunks.every((each, at) => each === whole[at]);
        expect(verdict(chunks), `chunk ${i} ${how}`).toMatch(
          same ? /^a state$/ : /^data-damaged: /,
        );
      }
    }
  });

  it("refuses a flipped bit wherever it is", () => {
    for (const [i, chunk] of whole.entries()) {
      for (let at = i % 5; at < chunk.length; at += 5) {
        const damaged = chunk.with(at, (chunk[at] ?? 0) ^ (1 << (at % 8)));
        // A flipped bit of a format or a section's name may look as if it came from a newer orch.
        expect(verdict(replaced(i, damaged)), `chunk ${i}, byte ${at}`).toMatch(/^data-/);
      }
    }
  });

  it("refuses a row that comes twice, also when the sum is right", () => {
    for (const [i, chunk] of others.entries()) {
      if (i === 0 || textOf(chunk).startsWith('{"section":"specs"')) continue;
      expect(verdict(sealed(others.toSpliced(i, 0, chunk)))).toMatch(/comes twice$/);
    }
  });

  it("throws nothing but its own errors at rows that no orch wrote", () => {
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 1 }),
      fc.integer({ min: -1, max: 5 }),
      fc.constantFrom<unknown>("a", "running", "__proto__", 1e15, [], {}, [{}], [[]], undefined),
    );
    let refused = 0;
    fc.assert(
      fc.property(
        fc.nat(),
        fc.array(fc.nat(), { minLength: 2, maxLength: 6 }),
        value,
        (n, path, put) => {
          const i = n % others.length;
          const chunk: unknown = JSON.parse(textOf(others[i]));
          spoil(chunk, path, put);
          const answer = verdict(sealed(others.with(i, bytesOf(JSON.stringify(chunk)))));
          if (answer !== "a state") refused += 1;
        },
      ),
      { numRuns: 600 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  it("says what it does not know of a newer orch", () => {
    const first = textOf(whole[0]).replace('"orchSnapshot":1', '"orchSnapshot":2');
    expect(verdict([bytesOf(first)])).toBe(
      "data-newer: snapshot, chunk 1: it is in format 2, this orch reads up to 1: a newer orch wrote it",
    );
    const section = bytesOf('{"section":"moods","rows":[1]}');
    expect(verdict(sealed([...others, section]))).toMatch(
      /^data-newer: snapshot, chunk \d+: it has a section "moods": a newer orch wrote it$/,
    );
  });

  it.each([
    ["of another program", '{"version":1}', "it does not begin a snapshot of orch"],
    ["that is no object", "[1]", "it is no object"],
    ["that is no JSON", "SQLite format 3", "it is not JSON"],
    ["of no format", '{"orchSnapshot":0}', "this orch reads no format 0"],
    ["without a state's scalars", '{"orchSnapshot":1}', "the first chunk has no field clusterId"],
  ])("refuses a first chunk %s", (_, text, why) => {
    expect(verdict([bytesOf(text)])).toBe(`data-damaged: snapshot, chunk 1: ${why}`);
  });

  it("says where a row is wrong", () => {
    const at = whole.findIndex((chunk) => textOf(chunk).startsWith('{"section":"tasks"'));
    const text = textOf(whole[at]).replace('"running","running"', '"flying","running"');
    expect(verdict(replaced(at, bytesOf(text)))).toMatch(
      /^data-damaged: snapshot, chunk \d+: tasks, row \d+: a task's cell 9 is not a task's state$/,
    );
    const slots = whole.findIndex((chunk) => textOf(chunk).startsWith('{"section":"slots"'));
    const extra = textOf(whole[slots]).replace("[1,2,3]", "[1,2,3,4]");
    expect(verdict(sealed(others.with(slots, bytesOf(extra))))).toMatch(/: a slot has no task$/);
  });

  it("takes nothing more after a refusal, and gives its state once", () => {
    const reader = new SnapshotReader();
    reader.add(present(whole[0], "a first chunk"));
    expect(() => reader.add(bytesOf("{"))).toThrow(SnapshotError);
    for (const chunk of whole.slice(1)) expect(() => reader.add(chunk)).toThrow(SnapshotError);
    expect(() => reader.finish()).toThrow(/one of its chunks was refused/);
    const good = new SnapshotReader();
    expect(() => good.finish()).toThrow(/ends after 0 chunks/);
    for (const chunk of whole) good.add(chunk);
    expect(() => good.add(bytesOf("{}"))).toThrow(/more follows its last chunk/);
    good.finish();
    expect(() => good.finish()).toThrow(AssertionError);
  });
});

/** Puts a value into a tree of JSON where the path leads; undefined: takes out what is there. */
function spoil(tree: unknown, path: readonly number[], value: unknown): void {
  let at = tree;
  for (const [depth, n] of path.entries()) {
    if (typeof at !== "object" || at === null) return;
    const keys = Object.keys(at);
    const key = keys[n % Math.max(1, keys.length)] ?? "0";
    const next: unknown = Reflect.get(at, key);
    const leaf = typeof next !== "object" || next === null || depth === path.length - 1;
    if (!leaf) at = next;
    else if (value === undefined && Array.isArray(at)) at.splice(Number(key), 1);
    else Reflect.set(at, key, value);
    if (leaf) return;
  }
}
