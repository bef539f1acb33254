import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { TaskId } from "../../state/ids.ts";
import { taskId } from "../../state/ids.ts";
import type {
  ContainerSpec,
  ContainerStatus,
  Driver,
  EngineStep,
  LogLine,
  StepOutcome,
} from "../../runtime/engine.ts";

/** What every driver must do. Each runs this suite with commands of its own kind that do the same things. */
export interface EngineSetup {
  readonly name: string;
  /** Once before all tests; returns what to do after them. */
  readonly prepare: () => Promise<() => Promise<void>>;
  /** A driver for that node of one machine; opening it again is what a restarted orch does. */
  readonly open: (node: string) => Driver;
  /** Null for drivers without images. */
  readonly image: string | null;
  readonly commands: {
    readonly exit: (code: number, afterMs: number) => readonly string[];
    readonly forever: readonly string[];
    /** Takes no notice of SIGTERM. */
    readonly stubborn: readonly string[];
    /** Writes a line, then runs for ever. */
    readonly print: (text: string) => readonly string[];
    /** Writes the value of a variable, then runs for ever. */
    readonly printVariable: (name: string) => readonly string[];
  };
  /** A spec that cannot be created or started for want of its image or command, and the fault's code. */
  readonly missing: { readonly change: Partial<ContainerSpec>; readonly code: string };
  /** Whether the engine itself publishes ports, so that two tasks cannot have the same. */
  readonly publishes: boolean;
}

const WAIT_MS = 30_000;
const FREE_PORT = 18_471;

/** A task that runs for ever, changed as a test needs. */
export function specOf(
  setup: {
    readonly image: string | null;
    readonly commands: { readonly forever: readonly string[] };
  },
  task: TaskId,
  change: Partial<ContainerSpec> = {},
): ContainerSpec {
  return {
    task,
    slot: "shop.web.1",
    job: "shop",
    service: "web",
    image: setup.image,
    entrypoint: null,
    command: setup.commands.forever,
    environment: {},
    workingDir: null,
    ports: [],
    publishAddress: "127.0.0.1",
    volumes: [],
    limits: { cpuMilli: null, memoryMib: null },
    ...change,
  };
}

/** A driver as a test uses it: promises, and everything it was told. */
export class Bench {
  readonly driver: Driver;
  readonly heard: ContainerStatus[] = [];

  constructor(driver: Driver) {
    this.driver = driver;
    driver.watch((status) => this.heard.push(status));
  }

  step(step: EngineStep): Promise<StepOutcome> {
    return new Promise((resolve, reject) => {
      let calls = 0;
      this.driver.perform(step, (outcome) => {
        calls += 1;
        if (calls > 1) reject(new Error("done was called twice"));
        resolve(outcome);
      });
    });
  }

  /** A step that must succeed. */
  async does(step: EngineStep): Promise<void> {
    const outcome = await this.step(step);
    if (outcome.kind === "failed")
      throw new Error(`${step.kind}: ${outcome.fault.code}: ${outcome.fault.message}`);
  }

  async runs(spec: ContainerSpec): Promise<void> {
    await this.does({ kind: "create", spec });
    await this.does({ kind: "start", task: spec.task });
  }

  async status(task: TaskId): Promise<ContainerStatus | undefined> {
    return (await this.statuses()).find((status) => status.task === task);
  }

  statuses(): Promise<readonly ContainerStatus[]> {
    return new Promise((resolve, reject) => {
      this.driver.list((outcome) => {
        if (outcome.kind === "listed") resolve(outcome.statuses);
        else reject(new Error(outcome.fault.message));
      });
    });
  }

  /** The states heard of a task, in order. */
  states(task: TaskId): string[] {
    return this.heard.filter((status) => status.task === task).map((status) => status.state);
  }

  async hears(task: TaskId, states: readonly string[]): Promise<ContainerStatus> {
    await eventually(
      `${task} is heard ${states.join(", ")}, not ${this.states(task).join(", ")}`,
      () => {
        return this.states(task).length >= states.length;
      },
    );
    assert.deepEqual(this.states(task), states);
    const last = this.heard.findLast((status) => status.task === task);
    if (last === undefined) throw new Error(`nothing heard of ${task}`);
    return last;
  }

  /** The first line of a task's output. */
  async firstLine(task: TaskId): Promise<LogLine> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), WAIT_MS);
    try {
      const options = { follow: true, tail: null, sinceMs: null, signal: abort.signal };
      for await (const line of this.driver.logs(task, options)) return line;
      throw new Error(`${task} wrote nothing`);
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  async removeAll(): Promise<void> {
    for (const { task } of await this.statuses()) await this.does({ kind: "remove", task });
    assert.deepEqual(await this.statuses(), []);
  }
}

async function collect(lines: AsyncIterable<LogLine>): Promise<LogLine[]> {
  const all: LogLine[] = [];
  for await (const line of lines) all.push(line);
  return all;
}

/** Waits until a condition holds; throws with `what` when it does not within half a minute. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`In vain waited that ${what}`);
    await delay(20);
  }
}

export function engineSuite(setup: EngineSetup): void {
  describe(`engine port: ${setup.name}`, () => {
    let end: () => Promise<void>;
    let bench: Bench;
    let count = 0;
    const newTask = (): TaskId => taskId(`${(count += 1).toString(36)}-${setup.name}`);
    const { commands } = setup;

    beforeAll(async () => {
      end = await setup.prepare();
    });
    afterAll(() => end());
    beforeEach(() => {
      bench = new Bench(setup.open("node-a"));
    });
    afterEach(async () => {
      await bench.removeAll();
      await bench.driver.close();
    });

    test("answers a ping", () => expect(bench.driver.ping()).resolves.toBeUndefined());

    test("creates, starts, stops and removes; each step twice", async () => {
      const task = newTask();
      const spec = specOf(setup, task);
      await bench.does({ kind: "create", spec });
      await bench.does({ kind: "create", spec });
      expect(await bench.status(task)).toMatchObject({ state: "created", exitCode: null });
      await bench.does({ kind: "start", task });
      await bench.does({ kind: "start", task });
      expect(await bench.status(task)).toMatchObject({
        state: "running",
        exitCode: null,
        finishedAtMs: null,
      });
      await bench.does({ kind: "stop", task, graceMs: 5_000 });
      await bench.does({ kind: "stop", task, graceMs: 5_000 });
      expect(await bench.status(task)).toMatchObject({ state: "exited" });
      await bench.does({ kind: "remove", task });
      await bench.does({ kind: "remove", task });
      expect(await bench.status(task)).toBeUndefined();
      await bench.hears(task, ["running", "exited", "gone"]);
    });

    test("stops and removes what never was", async () => {
      await bench.does({ kind: "stop", task: newTask(), graceMs: 1_000 });
      await bench.does({ kind: "remove", task: newTask() });
      expect(bench.heard).toEqual([]);
    });

    test("refuses to start what was never created", async () => {
      const outcome = await bench.step({ kind: "start", task: newTask() });
      expect(outcome).toMatchObject({ kind: "failed", fault: { code: "engine-refused" } });
    });

    test("tells an exit with its code and times", async () => {
      const task = newTask();
      const before = Date.now();
      await bench.runs(specOf(setup, task, { command: commands.exit(3, 300) }));
      const status = await bench.hears(task, ["running", "exited"]);
      expect(status).toMatchObject({ exitCode: 3, message: "" });
      expect(await bench.status(task)).toEqual(status);
      // File times may lag the clock by one of its ticks.
      expect(status.startedAtMs).toBeGreaterThan(before - 50);
      expect(status.finishedAtMs).toBeGreaterThanOrEqual((status.startedAtMs ?? Infinity) + 250);
      expect(status.finishedAtMs).toBeLessThanOrEqual(Date.now());
    });

    test("starts again what exited, and tells each end", async () => {
      const task = newTask();
      await bench.runs(specOf(setup, task, { command: commands.exit(4, 200) }));
      await bench.hears(task, ["running", "exited"]);
      await bench.does({ kind: "start", task });
      await bench.hears(task, ["running", "exited", "running", "exited"]);
      await bench.does({ kind: "start", task });
      const last = await bench.hears(task, [
        "running",
        "exited",
        "running",
        "exited",
        "running",
        "exited",
      ]);
      expect(last.exitCode).toBe(4);
    });

    test("tells the start before the end of a run that is over at once", async () => {
      const tasks = Array.from({ length: 5 }, newTask);
      for (const task of tasks)
        await bench.runs(specOf(setup, task, { command: commands.exit(0, 0) }));
      for (const task of tasks)
        expect(await bench.hears(task, ["running", "exited"])).toMatchObject({ exitCode: 0 });
    });

    test("stops well before the grace is over when the task obeys", async () => {
      const task = newTask();
      await bench.runs(specOf(setup, task, { command: commands.print("up") }));
      await bench.firstLine(task);
      const before = performance.now();
      await bench.does({ kind: "stop", task, graceMs: 20_000 });
      expect(performance.now() - before).toBeLessThan(10_000);
      expect(await bench.status(task)).toMatchObject({
        state: "exited",
        exitCode: 143,
        message: "killed by SIGTERM",
      });
    });

    test("kills a stubborn task after the grace, not before", async () => {
      const task = newTask();
      await bench.runs(specOf(setup, task, { command: commands.stubborn }));
      await bench.firstLine(task);
      const before = performance.now();
      await bench.does({ kind: "stop", task, graceMs: 1_000 });
      expect(performance.now() - before).toBeGreaterThan(900);
      expect(await bench.status(task)).toMatchObject({
        state: "exited",
        exitCode: 137,
        message: "killed by SIGKILL",
      });
    });

    test("removes what runs", async () => {
      const task = newTask();
      await bench.runs(specOf(setup, task, { command: commands.stubborn }));
      await bench.does({ kind: "remove", task });
      expect(await bench.statuses()).toEqual([]);
      await bench.hears(task, ["running", "exited", "gone"]);
    });

    test("a later driver adopts what runs and what ended meanwhile", async () => {
      const [running, ending] = [newTask(), newTask()];
      await bench.runs(specOf(setup, running));
      await bench.runs(specOf(setup, ending, { command: commands.exit(5, 700) }));
      const before = await bench.status(running);
      expect(await bench.status(ending)).toMatchObject({ state: "running" });
      await bench.driver.close();
      const told = bench.heard.length;
      const { heard } = bench;
      bench = new Bench(setup.open("node-a"));
      expect(await bench.status(running)).toEqual(before);
      await eventually(
        "the other ended",
        async () => (await bench.status(ending))?.state === "exited",
      );
      expect(await bench.status(ending)).toMatchObject({ exitCode: 5 });
      await bench.does({ kind: "start", task: running });
      expect(await bench.status(running)).toEqual(before);
      await bench.does({ kind: "stop", task: running, graceMs: 5_000 });
      await eventually("the end is heard", () => bench.states(running).includes("exited"));
      expect(heard.length, "a closed driver tells nothing").toBe(told);
    });

    test("lists only its own node's", async () => {
      const [mine, other] = [newTask(), newTask()];
      const neighbour = new Bench(setup.open("node-b"));
      await bench.runs(specOf(setup, mine));
      await neighbour.runs(specOf(setup, other));
      expect((await bench.statuses()).map((status) => status.task)).toEqual([mine]);
      expect((await neighbour.statuses()).map((status) => status.task)).toEqual([other]);
      await bench.does({ kind: "remove", task: other });
      expect(await neighbour.status(other)).toMatchObject({ state: "running" });
      await neighbour.removeAll();
      expect(bench.states(other)).toEqual([]);
      await neighbour.driver.close();
    });

    test("names what is missing", async () => {
      const spec = specOf(setup, newTask(), setup.missing.change);
      const created = await bench.step({ kind: "create", spec });
      const outcome =
        created.kind === "failed" ? created : await bench.step({ kind: "start", task: spec.task });
      expect(outcome).toMatchObject({ kind: "failed", fault: { code: setup.missing.code } });
      expect(outcome.kind === "failed" ? outcome.fault.message : "").toContain("missing");
      expect(bench.states(spec.task)).toEqual([]);
    });

    test("gives the output, to the end and from the tail", async () => {
      const task = newTask();
      const before = Date.now();
      await bench.runs(specOf(setup, task, { command: commands.print("grüße, world") }));
      const line = await bench.firstLine(task);
      expect(line).toMatchObject({ stream: "stdout", text: "grüße, world" });
      expect(line.timeMs).toBeGreaterThan(before - 50);
      expect(line.timeMs).toBeLessThanOrEqual(Date.now());
      const { signal } = new AbortController();
      const read = async (tail: number | null, sinceMs: number | null): Promise<string[]> => {
        const lines = await collect(
          bench.driver.logs(task, { follow: false, tail, sinceMs, signal }),
        );
        return lines.map((one) => one.text);
      };
      expect(await read(null, null)).toEqual(["grüße, world"]);
      expect(await read(0, null)).toEqual([]);
      expect(await read(5, before - 50)).toEqual(["grüße, world"]);
      expect(await read(null, Date.now() + 60_000)).toEqual([]);
    });

    test("gives no output of a task that is not there", async () => {
      const { signal } = new AbortController();
      const options = { follow: true, tail: null, sinceMs: null, signal };
      expect(await collect(bench.driver.logs(newTask(), options))).toEqual([]);
    });

    test("follows the output through a restart until aborted", async () => {
      const task = newTask();
      await bench.runs(specOf(setup, task, { command: commands.print("again") }));
      const abort = new AbortController();
      const lines: LogLine[] = [];
      const following = (async (): Promise<void> => {
        const options = { follow: true, tail: null, sinceMs: null, signal: abort.signal };
        for await (const line of bench.driver.logs(task, options)) {
          // A shell may say on stderr that its child was terminated.
          if (line.stream === "stdout") lines.push(line);
        }
      })();
      await eventually("the first line is there", () => lines.length === 1);
      await bench.does({ kind: "stop", task, graceMs: 5_000 });
      await bench.does({ kind: "start", task });
      await eventually("the second line is there", () => lines.length === 2);
      abort.abort();
      await following;
      expect(lines.map((line) => line.text)).toEqual(["again", "again"]);
    });

    test("hands over the environment", async () => {
      const task = newTask();
      const environment = { ORCH_SLOT: "shop.web.1", GREETING: "a b=c 'd' \"e\" $HOME" };
      await bench.runs(
        specOf(setup, task, { environment, command: commands.printVariable("GREETING") }),
      );
      expect((await bench.firstLine(task)).text).toBe(environment.GREETING);
    });

    test.runIf(setup.publishes)(
      "refuses the second task on a port by the port's number",
      async () => {
        const ports = [{ container: 80, host: FREE_PORT, protocol: "tcp" as const }];
        const [first, second] = [newTask(), newTask()];
        await bench.runs(specOf(setup, first, { ports }));
        await bench.does({ kind: "create", spec: specOf(setup, second, { ports }) });
        const outcome = await bench.step({ kind: "start", task: second });
        expect(outcome).toMatchObject({
          kind: "failed",
          fault: { code: "engine-refused", details: { port: FREE_PORT } },
        });
        await bench.does({ kind: "remove", task: first });
        await bench.does({ kind: "start", task: second });
      },
    );
  });
}
