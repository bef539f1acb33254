import { taskId } from "../state/ids.ts";
import type { PlanStep } from "../state/command.ts";
import { snapshotChunks, SnapshotReader } from "../state/snapshot.ts";
import { idOf, serviceSpec, taskReport, TestCluster } from "../test/fixtures/cluster.ts";

/**
 * What a snapshot of a large cluster costs: to freeze the state, to write it, to read it back, and the longest
 * time without the event loop in each.
 *
 *     node bench/snapshot.ts           1,000 nodes, 1,000 jobs, 100,000 tasks, 10,000 answers; 10 s
 */
const NODES = 1000;
const JOBS = 1000;
const TASKS_A_JOB = 100;
const ANSWERS = 10_000;
const ROUNDS = 3;

const cluster = fullCluster();
for (let round = 0; round < ROUNDS; round++) measure();

function fullCluster(): TestCluster {
  const full = new TestCluster();
  const resources = { cpuMilli: 1_000_000, memoryMib: 1_000_000, diskMib: 1_000_000 };
  for (let i = 0; i < NODES; i++) {
    full.admitWith(nodeName(i), { resources, portRange: { first: 20_000, last: 29_999 } });
  }
  const ports = [{ container: 80, host: null, protocol: "tcp" }] as const;
  for (let job = 0; job < JOBS; job++) {
    const environment = { SETTINGS: "x".repeat(300) };
    full.put(`job-${job}`, serviceSpec("web", { replicas: TASKS_A_JOB, environment, ports }));
    full.apply({ kind: "plan", steps: placements(job) });
  }
  for (const task of full.state.tasks.values()) {
    if (task.node === null) continue;
    const reports = [taskReport(task.id, "running", { startedAtMs: full.now })];
    full.apply({ kind: "task-reports", node: task.node, reports });
  }
  for (let i = 0; i < ANSWERS; i++) full.apply({ kind: "task-stop", task: taskId("0-0") }, `${i}`);
  return full;
}

/** As long as a peer id. */
function nodeName(i: number): string {
  return `12D3KooW${String(i).padStart(44, "x")}`;
}

function placements(job: number): readonly PlanStep[] {
  return Array.from({ length: TASKS_A_JOB }, (_, i) => ({
    kind: "create",
    job: `job-${job}`,
    service: "web",
    slot: i + 1,
    version: 1,
    previous: null,
    rejections: 0,
    node: idOf(nodeName((job * TASKS_A_JOB + i) % NODES)),
    ports: [{ container: 80, host: 20_000 + job, protocol: "tcp" }],
    message: "",
  }));
}

function measure(): void {
  const [frozen, freezeMs] = timed(() => cluster.state.freeze());
  const chunks: Uint8Array[] = [];
  const writes: number[] = [];
  const written = snapshotChunks(frozen);
  for (;;) {
    const [next, ms] = timed(() => written.next());
    writes.push(ms);
    if (next.done === true) break;
    chunks.push(next.value);
  }
  const reader = new SnapshotReader();
  const reads = chunks.map((chunk) => timed(() => reader.add(chunk))[1]);
  const same = reader.finish().hash() === cluster.state.hash();
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  process.stdout.write(
    `${cluster.state.tasks.size} tasks: freeze ${freezeMs.toFixed(1)} ms, write ${spread(writes)}, ` +
      `read ${spread(reads)}, ${chunks.length} chunks, ${(bytes / 1e6).toFixed(1)} MB` +
      `${same ? "" : ", NOT THE SAME STATE"}\n`,
  );
}

function spread(ms: readonly number[]): string {
  const sorted = ms.toSorted((a, b) => a - b);
  const total = ms.reduce((sum, each) => sum + each, 0);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const longest = sorted.at(-1) ?? 0;
  return `${total.toFixed(0)} ms (a chunk ${median.toFixed(1)}, longest ${longest.toFixed(1)})`;
}

function timed<T>(work: () => T): readonly [result: T, ms: number] {
  const before = performance.now();
  const result = work();
  return [result, performance.now() - before];
}
