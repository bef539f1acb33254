import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Bench, eventually, specOf } from "../test/compliance/engine.ts";
import type { TaskId } from "../state/ids.ts";
import { taskId } from "../state/ids.ts";
import type { ContainerSpec } from "./engine.ts";
import { PROCESS_LOG_BOUND, ProcessDriver } from "./process.ts";

const TASK = taskId("1-0");
const setup = { image: null, commands: { forever: ["sleep", "1000"] } };

let dataDir: string;
let bench: Bench;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "orch-process-"));
  bench = open();
});

afterEach(async () => {
  await bench.removeAll();
  await bench.driver.close();
  rmSync(dataDir, { recursive: true, force: true });
});

function open(maxBytes: number = PROCESS_LOG_BOUND.maxBytes): Bench {
  return new Bench(new ProcessDriver({ dataDir, logBound: { maxBytes, files: 3 } }));
}

function spec(
  script: string,
  change: Partial<ContainerSpec> = {},
  task: TaskId = TASK,
): ContainerSpec {
  return specOf(setup, task, { command: ["/bin/sh", "-c", script], ...change });
}

function folder(task: TaskId = TASK): string {
  return join(dataDir, "tasks", task);
}

function work(name: string, task: TaskId = TASK): string {
  return join(folder(task), "work", name);
}

/** The number in a file that a task writes into its working directory. */
async function pidIn(name: string): Promise<number> {
  await eventually(
    `${name} is written`,
    () => existsSync(work(name)) && readFileSync(work(name), "utf8").endsWith("\n"),
  );
  return Number(readFileSync(work(name), "utf8"));
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/mu.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}

async function lines(of: Bench, tail: number | null = null): Promise<string[]> {
  const { signal } = new AbortController();
  const texts: string[] = [];
  for await (const line of of.driver.logs(TASK, { follow: false, tail, sinceMs: null, signal }))
    texts.push(line.text);
  return texts;
}

describe("a group of processes", () => {
  test("is stopped with its grandchildren", async () => {
    await bench.runs(
      spec("sh -c 'trap \"\" TERM; echo $$ >grandchild; while :; do sleep 0.1; done' & wait"),
    );
    const pid = await pidIn("grandchild");
    expect(isAlive(pid)).toBe(true);
    await bench.does({ kind: "stop", task: TASK, graceMs: 2_000 });
    await eventually("the grandchild is dead", () => !isAlive(pid));
  });

  test("ends with its command, whose code counts", async () => {
    await bench.runs(
      spec(
        "sh -c 'echo $$ >grandchild; exec sleep 1000' & while [ ! -s grandchild ]; do sleep 0.05; done; exit 9",
      ),
    );
    const pid = await pidIn("grandchild");
    expect(await bench.hears(TASK, ["running", "exited"])).toMatchObject({ exitCode: 9 });
    await eventually("the grandchild is dead", () => !isAlive(pid));
  });

  test("does not go on unseen when its shim is killed", async () => {
    await bench.runs(spec("echo $$ >pid; exec sleep 1000"));
    const pid = await pidIn("pid");
    const leader = Number(readFileSync(join(folder(), "run"), "utf8").split("\n")[1]);
    process.kill(leader, "SIGKILL");
    expect(await bench.hears(TASK, ["running", "exited"])).toMatchObject({ exitCode: 137 });
    await eventually("the command is dead", () => !isAlive(pid));
  });

  test("says which signal ended it", async () => {
    await bench.runs(spec("kill -SEGV $$"));
    expect(await bench.hears(TASK, ["running", "exited"])).toMatchObject({
      exitCode: 139,
      message: "killed by SIGSEGV",
    });
  });
});

describe("orch's death", () => {
  const script = `
    const { ProcessDriver, PROCESS_LOG_BOUND } = await import(process.argv[1]);
    const driver = new ProcessDriver({ dataDir: process.argv[2], logBound: PROCESS_LOG_BOUND });
    const step = (step) => new Promise((resolve) => driver.perform(step, resolve));
    for (const spec of JSON.parse(process.argv[3])) {
      await step({ kind: "create", spec });
      await step({ kind: "start", task: spec.task });
    }
    process.stdout.write("ready\\n");
    setInterval(() => {}, 1000);
  `;

  test("kill -9: tasks run on, and those that end meanwhile leave their code", async () => {
    const [longer, ending] = [taskId("2-0"), taskId("2-1")];
    const specs = [
      spec("while :; do echo tick; sleep 0.1; done", {}, longer),
      spec("while [ ! -e go ]; do sleep 0.05; done; exit 7", {}, ending),
    ];
    const module = pathToFileURL(join(import.meta.dirname, "process.ts")).href;
    const parameters = [
      "--input-type=module",
      "-e",
      script,
      module,
      dataDir,
      JSON.stringify(specs),
    ];
    const orch = spawn(process.execPath, parameters, { stdio: ["ignore", "pipe", "inherit"] });
    await once(orch.stdout, "data");
    orch.kill("SIGKILL");
    await once(orch, "exit");
    const size = statSync(join(folder(longer), "stdout")).size;
    writeFileSync(work("go", ending), "");
    await eventually("the one has ended", () => existsSync(join(folder(ending), "exit")));
    await eventually(
      "the other writes on",
      () => statSync(join(folder(longer), "stdout")).size > size,
    );
    await bench.driver.close();
    bench = open();
    expect(await bench.status(longer)).toMatchObject({ state: "running" });
    expect(await bench.status(ending)).toMatchObject({ state: "exited", exitCode: 7 });
    await bench.does({ kind: "stop", task: longer, graceMs: 5_000 });
    await bench.hears(longer, ["exited"]);
    await bench.does({ kind: "start", task: ending });
    await bench.hears(ending, ["running", "exited"]);
  });

  test("an end of an adopted task is heard without asking", async () => {
    await bench.runs(spec("while [ ! -e go ]; do sleep 0.05; done; exit 6"));
    await bench.driver.close();
    bench = open();
    writeFileSync(work("go"), "");
    expect(await bench.hears(TASK, ["exited"])).toMatchObject({ exitCode: 6 });
  });

  test.runIf(existsSync("/proc/self/stat"))(
    "a number given to another process is not the task",
    async () => {
      await bench.runs(spec("exit 0"));
      await bench.hears(TASK, ["running", "exited"]);
      await bench.driver.close();
      const stranger = spawn("sleep", ["1000"], { detached: true, stdio: "ignore" });
      await once(stranger, "spawn");
      const path = join(folder(), "run");
      const record = readFileSync(path, "utf8").split("\n");
      writeFileSync(path, record.with(1, String(stranger.pid)).join("\n"));
      rmSync(join(folder(), "exit"));
      bench = open();
      expect(await bench.status(TASK)).toMatchObject({ state: "exited", exitCode: 137 });
      await bench.does({ kind: "stop", task: TASK, graceMs: 100 });
      await bench.does({ kind: "remove", task: TASK });
      expect(isAlive(stranger.pid ?? 0)).toBe(true);
      stranger.kill("SIGKILL");
    },
  );

  test("a create cut short leaves nothing, a damaged spec can be removed", async () => {
    await bench.does({ kind: "create", spec: spec("true") });
    await bench.does({ kind: "create", spec: spec("true", {}, taskId("3-0")) });
    await bench.driver.close();
    rmSync(join(folder(), "spec.json"));
    writeFileSync(join(folder(taskId("3-0")), "spec.json"), "{");
    bench = open();
    expect(await bench.statuses()).toMatchObject([{ task: "3-0", state: "created" }]);
    expect(existsSync(folder())).toBe(false);
    expect(await bench.step({ kind: "start", task: taskId("3-0") })).toMatchObject({
      fault: { code: "engine-refused" },
    });
  });
});

describe("what it refuses", () => {
  test.each<[string, Partial<ContainerSpec>, string]>([
    ["an image", { image: "nginx:1" }, "nginx:1"],
    ["a volume", { volumes: [{ kind: "tmpfs", target: "/x", sizeMib: null }] }, "volumes"],
    ["no command", { command: null }, "command"],
    ["a variable that a shell drops", { environment: { "a.b": "1" } }, "a.b"],
  ])("%s at create", async (_, change, named) => {
    const outcome = await bench.step({ kind: "create", spec: spec("true", change) });
    expect(outcome).toMatchObject({ kind: "failed", fault: { code: "engine-refused" } });
    expect(JSON.stringify(outcome)).toContain(named);
    expect(existsSync(folder())).toBe(false);
  });

  test.each<[string, Partial<ContainerSpec>, string]>([
    ["a shell built-in", { command: ["exit", "0"] }, "exit"],
    ["a file that is no program", { command: ["/etc/passwd"] }, "/etc/passwd"],
    ["a working directory that is not there", { workingDir: "/no/such/place" }, "/no/such/place"],
  ])("%s at start", async (_, change, named) => {
    await bench.does({ kind: "create", spec: spec("true", change) });
    const outcome = await bench.step({ kind: "start", task: TASK });
    expect(outcome).toMatchObject({ kind: "failed", fault: { code: "engine-refused" } });
    expect(JSON.stringify(outcome)).toContain(named);
  });
});

test("argv is entrypoint, then command, unchanged", async () => {
  const words = ["a b", "$HOME", "", "'", "-n", "*"];
  const change = { entrypoint: ["printf", "<%s>\\n"], command: words };
  await bench.runs(spec("", change));
  await bench.hears(TASK, ["running", "exited"]);
  expect(await lines(bench)).toEqual(words.map((word) => `<${word}>`));
});

test("the environment is PATH, HOME and what was asked", async () => {
  const environment = { GREETING: "hello\nworld", orch: "1" };
  await bench.runs(spec("tr '\\0' '\\n' </proc/$$/environ >environ; echo >done", { environment }));
  await bench.hears(TASK, ["running", "exited"]);
  const names = readFileSync(work("environ"), "utf8").match(/^\w+(?==)/gmu) ?? [];
  // PWD is the shell's own doing.
  expect(names.filter((name) => name !== "PWD").toSorted()).toEqual([
    "GREETING",
    "HOME",
    "PATH",
    "orch",
  ]);
});

test("logs are cut and bounded, and a follower misses nothing", async () => {
  await bench.driver.close();
  bench = open(4_000);
  const total = 1_000;
  await bench.runs(
    spec(
      `i=0; while [ $i -lt ${total} ]; do i=$((i+1)); echo "line $i"; [ $((i % 100)) != 0 ] || sleep 0.3; done; sleep 1000`,
    ),
  );
  const abort = new AbortController();
  const followed: string[] = [];
  const options = { follow: true, tail: null, sinceMs: null, signal: abort.signal };
  for await (const line of bench.driver.logs(TASK, options)) {
    followed.push(line.text);
    if (followed.length === total) break;
  }
  abort.abort();
  expect(followed).toEqual(Array.from({ length: total }, (_, index) => `line ${index + 1}`));
  await eventually("the first cut is made", () => existsSync(join(folder(), "stdout.1")));
  await eventually(
    "the present file is short again",
    () => statSync(join(folder(), "stdout")).size <= 4_000,
  );
  expect(await lines(bench, 2)).toEqual([`line ${total - 1}`, `line ${total}`]);
  expect(existsSync(join(folder(), "stdout.3"))).toBe(false);
});

test("an unfinished last line is shown", async () => {
  await bench.runs(spec("printf 'one\\ntwo'; printf err >&2"));
  await bench.hears(TASK, ["running", "exited"]);
  expect((await lines(bench)).toSorted()).toEqual(["err", "one", "two"]);
});

// Where control groups cannot be written there are no limits, as process-cgroup.ts says.
test.runIf(existsSync("/sys/fs/cgroup/memory/cgroup.procs") && process.getuid?.() === 0)(
  "a memory limit holds and says so",
  async () => {
    const limits = { cpuMilli: 500, memoryMib: 32 };
    await bench.runs(spec("exec awk 'BEGIN { s = \"x\"; while (1) s = s s }'", { limits }));
    const status = await bench.hears(TASK, ["running", "exited"]);
    expect(status).toMatchObject({ exitCode: 137, message: "out of memory" });
  },
);
