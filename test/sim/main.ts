import { parseArgs } from "node:util";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { availableParallelism } from "node:os";
import { Violation } from "./violation.ts";
import { drawOptions, faultsOf, type SimOptions } from "./options.ts";
import { REGRESSIONS } from "./regressions.ts";
import { type RunResult, World } from "./world.ts";

/** `npm run sim -- --seeds 1000 [--from S] [--until-violation]`, or `--seed S` to replay one with its trace. */

const PROGRESS_EVERY_MS = 60_000;

interface Outcome {
  readonly seed: number;
  readonly result: RunResult | null;
  readonly problem: string | null;
}

function runSeed(seed: number, log: ((line: string) => void) | null): Outcome {
  return runOptions(drawOptions(seed), log);
}

function runOptions(options: SimOptions, log: ((line: string) => void) | null): Outcome {
  const { seed } = options;
  try {
    return { seed, result: new World(options, log).run(), problem: null };
  } catch (error) {
    const text =
      error instanceof Violation
        ? error.message
        : String(error instanceof Error ? error.stack : error);
    return { seed, result: null, problem: text };
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function replay(seed: number): void {
  const options = drawOptions(seed);
  say(JSON.stringify(options, null, 2));
  const { result, problem } = runSeed(seed, say);
  say(
    problem === null ? `seed ${seed} holds: ${JSON.stringify(result)}` : `seed ${seed}: ${problem}`,
  );
  process.exitCode = problem === null ? 0 : 1;
}

function sayViolation({ seed, problem }: Outcome): void {
  say(`seed ${seed}: ${problem}`);
  say(`  replay with: npm run sim -- --seed ${seed}`);
}

/** Of a long run; on stderr, so that what a run prints stays the same. */
function progress(count: number): (done: readonly Outcome[]) => void {
  const startedMs = performance.now();
  let nextMs = startedMs + PROGRESS_EVERY_MS;
  return (done) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return;
    nextMs += PROGRESS_EVERY_MS;
    const perMinute = done.length / ((nowMs - startedMs) / 60_000);
    const left = Math.ceil((count - done.length) / perMinute);
    const bad = done.filter(({ problem }) => problem !== null).length;
    process.stderr.write(
      `${done.length} of ${count} seeds, ${bad} violations, ${left} min to go at this speed\n`,
    );
  };
}

/** Splits the seeds over the cores: each thread runs every n-th. */
async function runAll(from: number, count: number): Promise<Outcome[]> {
  const tell = progress(count);
  const threads = Math.max(1, Math.min(availableParallelism(), count));
  const outcomes: Outcome[] = [];
  const parts = Array.from({ length: threads }, async (_, part) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { from, count, part, threads },
    });
    worker.on("message", (outcome: Outcome) => {
      outcomes.push(outcome);
      if (outcome.problem !== null) sayViolation(outcome);
      tell(outcomes);
    });
    await new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("exit", () => resolve());
    });
  });
  await Promise.all(parts);
  return outcomes.toSorted((a, b) => a.seed - b.seed);
}

function runUntilViolation(from: number, count: number): Outcome[] {
  const outcomes: Outcome[] = [];
  for (let seed = from; seed < from + count; seed++) {
    const outcome = runSeed(seed, null);
    outcomes.push(outcome);
    if (outcome.problem === null) continue;
    sayViolation(outcome);
    break;
  }
  return outcomes;
}

function report(outcomes: readonly Outcome[], from: number, seconds: number): void {
  const sum = (pick: (result: RunResult) => number): number =>
    outcomes.reduce((total, { result }) => total + (result === null ? 0 : pick(result)), 0);
  const faults = new Map<string, number>();
  for (const { result } of outcomes) {
    for (const [name, count] of Object.entries(result?.faults ?? {})) {
      faults.set(name, (faults.get(name) ?? 0) + count);
    }
  }
  for (const { seed } of outcomes) {
    for (const name of faultsOf(drawOptions(seed))) {
      if (!faults.has(name)) faults.set(name, 0);
    }
  }
  const bad = outcomes.filter(({ problem }) => problem !== null);
  say(
    `seeds ${from}..${from + outcomes.length - 1}: ${seconds.toFixed(1)} s, ${sum(({ events }) => events)} events`,
  );
  say(
    `faults: ${[...faults].map(([name, count]) => (count > 0 ? `${name} ${count}` : name)).join(", ")}`,
  );
  say(
    `entries applied ${sum(({ applied }) => applied)}, writes acknowledged ${sum(({ acknowledged }) => acknowledged)}, ` +
      `unknown ${sum(({ unknown }) => unknown)}, linearizable reads ${sum(({ reads }) => reads)}`,
  );
  say(`${bad.length} violations`);
  process.exitCode = bad.length === 0 ? 0 : 1;
}

/** The same seed must give the same trace: else no seed could be replayed. */
function checkDeterminism(seed: number): void {
  const first = runSeed(seed, null);
  const second = runSeed(seed, null);
  if (first.result?.traceHash !== second.result?.traceHash || first.problem !== second.problem) {
    say(
      `seed ${seed} gives two traces: ${first.result?.traceHash} and ${second.result?.traceHash}`,
    );
    process.exit(1);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "100" },
      from: { type: "string", default: "1" },
      seed: { type: "string" },
      "until-violation": { type: "boolean", default: false },
    },
  });
  if (values.seed !== undefined) {
    replay(Number(values.seed));
    return;
  }
  const from = Number(values.from);
  const started = performance.now();
  checkDeterminism(from);
  for (const { found, options } of REGRESSIONS) {
    const { problem } = runOptions(options, null);
    if (problem === null) continue;
    say(`regression, seed ${options.seed} (${found}): ${problem}`);
    process.exitCode = 1;
    return;
  }
  const count = Number(values.seeds);
  const outcomes = values["until-violation"]
    ? runUntilViolation(from, count)
    : await runAll(from, count);
  report(outcomes, from, (performance.now() - started) / 1000);
}

if (isMainThread) {
  await main();
} else {
  const { from, count, part, threads } = workerData;
  for (let i = part; i < count; i += threads) parentPort?.postMessage(runSeed(from + i, null));
}
