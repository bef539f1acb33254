import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { expect, test } from "vitest";

/**
 * The rules of the source tree that no linter knows: who may import whom, what the core may touch, how
 * long a file may be, and that tests wait for conditions. ARCHITECTURE.md gives the reasons.
 */

/** Who may import whom. A new folder fails until somebody adds it here, and so says where it stands. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  consensus: ["lib"],
  state: ["lib"],
  scheduler: ["lib", "state"],
  runtime: ["lib", "state"],
  node: ["lib", "state", "consensus", "scheduler", "runtime"],
  // And of node/ the API's types, see API_TYPES.
  cli: ["lib", "state"],
};
/** They hold no product code, or (test, bench) may import whatever they look at. */
const NOT_PRODUCT = ["bench", "bin", "dist", "docs", "examples", "node_modules", "test"];

/** What cli/ may import of node/, as types only: all else it learns over HTTP. */
const API_TYPES = ["node/core/view-types.ts"];

/**
 * The core: a seed replays, and two nodes agree, only if nothing in these files looks at the outside
 * world. They import nothing but each other.
 */
const CORE = [
  /^(lib|consensus|state|scheduler)\//,
  /^runtime\/(worker[a-z-]*|memory|exit-message|engine)\.ts$/,
  /^node\/(node|storage|network)\.ts$/,
  /^node\/core\//,
];
/** They describe the shell to the core, so that their types may speak of promises. */
const PORTS = ["runtime/engine.ts", "node/storage.ts", "node/network.ts"];

const CLOCK =
  /\b(Date|performance|set(Timeout|Interval|Immediate)|queueMicrotask|Temporal|process(?=\s*[.[?]))/;
const CHANCE = /\b(crypto|WeakRef|FinalizationRegistry|SharedArrayBuffer|Atomics)\b/;
/** Text whose outcome depends on the machine's language or on ICU's version. */
const LOCALE = /\b(Intl|locale\w*|toLocale\w*|normalize\()/;
const WORLD = /\b(globalThis|fetch|console|require|import\.meta|navigator)\b/;
const PROMISES = /\b(async|await|Promise)\b|\.(then|catch|finally)\(/;
/** All but these are only approximated: two versions of Node may differ in the last digit. */
const INEXACT =
  /\bMath\.(?!(abs|ceil|clz32|floor|imul|max|min|round|sign|sqrt|trunc)\b)\w+|[\w)\]]\s*\*\*/;

const MAX_LINES = 500;
/** Words that stand for work that was left undone. */
const LEFT_UNDONE = /\b(TODO|FIXME|XXX|placeholder)\b/i;

/** A wait for a fixed time; a timer that ends something late is none. */
const SLEEP =
  /\bawait (delay|sleep|pause|setTimeout)\(|\bawait new Promise[^;]*?setTimeout\(|useFakeTimers/g;
const LOOP = /\b(for|while)\s*(await\s*)?\(|\bdo\s*\{/g;

const root = join(import.meta.dirname, "..");
const files = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !/^\.|^(dist|node_modules)$/.test(entry.name))
  .flatMap(({ name }) =>
    readdirSync(join(root, name), { recursive: true, encoding: "utf8" })
      .filter((inner) => inner.endsWith(".ts") && !inner.includes("node_modules"))
      .map((inner) => join(name, inner)),
  );
/** This file quotes what it looks for. */
const others = files.filter((file) => file !== "test/tidy.test.ts");
const product = files.filter((file) => !NOT_PRODUCT.includes(folderOf(file)) && !isTest(file));

function folderOf(file: string): string {
  return file.split("/")[0] ?? "";
}

/** Tests, and what only they use. */
function isTest(file: string): boolean {
  return folderOf(file) === "test" || /\.test\.ts$|(^|\/)(testing|test-[a-z-]+)\.ts$/.test(file);
}

function isCore(file: string): boolean {
  return CORE.some((pattern) => pattern.test(file));
}

const STRING_OR_COMMENT = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\/\*[\s\S]*?\*\/|\/\/.*$/gm;

/** The code alone; what stands in quotes goes too unless `strings` are wanted. */
function codeOf(text: string, strings: "with strings" | "without strings"): string {
  return text.replaceAll(STRING_OR_COMMENT, (_, quoted: string | undefined) => {
    if (quoted === undefined) return "";
    return strings === "with strings" ? quoted : '""';
  });
}

interface Import {
  readonly target: string;
  readonly local: boolean;
  readonly typeOnly: boolean;
}

/** Everything that a file imports or exports again: also for its effects, for its types, or at run time. */
function importsOf(file: string, code: string): Import[] {
  const found: Import[] = [];
  const statement =
    /\b(import|export)\b(\s+type\b)?[^;"'()]*?\bfrom\s*["']([^"']+)["']|\bimport\s*\(?\s*["']([^"']+)["']/g;
  for (const [, , type, from, bare] of code.matchAll(statement)) {
    const path = from ?? bare ?? "";
    const local = path.startsWith(".");
    const target = local ? relative(root, join(root, dirname(file), path)) : path;
    found.push({ target, local, typeOnly: type !== undefined });
  }
  return found;
}

function importProblem(file: string, { target, local, typeOnly }: Import): string | null {
  const folder = folderOf(file);
  const to = folderOf(target);
  if (local && isTest(target)) return `the product may not import the test code ${target}`;
  if (isCore(file)) {
    if (!local || !isCore(target)) return `the core may not import ${target}`;
  }
  if (!local || to === folder || MAY_IMPORT[folder]?.includes(to) === true) return null;
  if (folder === "cli" && API_TYPES.includes(target)) {
    return typeOnly ? null : `${folder}/ may import only types from ${target}`;
  }
  return `${folder}/ may not import ${target}`;
}

function coreProblems(file: string, code: string): string[] {
  const rules: readonly (readonly [RegExp, string])[] = [
    [CLOCK, "reads a clock, sets a timer or looks at the process"],
    [CHANCE, "depends on chance or on other threads"],
    [LOCALE, "depends on the machine's language"],
    [WORLD, "reaches for the world"],
    [INEXACT, "computes what two machines may round differently"],
    ...(PORTS.includes(file) ? [] : [[PROMISES, "is not synchronous"] as const]),
  ];
  return rules.flatMap(([pattern, what]) => {
    const [match] = pattern.exec(code) ?? [];
    return match === undefined ? [] : [`the core ${what}: ${match}`];
  });
}

/** What breaks the rules in one file of the product, as sentences for the reader of the failed test. */
function problems(file: string, text: string): string[] {
  const code = codeOf(text, "with strings");
  const found = importsOf(file, code).flatMap((each) => importProblem(file, each) ?? []);
  if (/\bimport\s*\(\s*[^"'\s)]/.test(code)) found.push("an import names its file as a literal");
  if (isCore(file)) found.push(...coreProblems(file, codeOf(text, "without strings")));
  return found;
}

function read(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

test("the table lists exactly the folders of the product", () => {
  const folders = [...new Set(product.map(folderOf))].toSorted();
  expect(folders).toEqual(Object.keys(MAY_IMPORT).toSorted());
});

test.each(product)("%s keeps to its place", (file) => {
  expect(problems(file, read(file))).toEqual([]);
});

test("every file has a name in kebab-case and is one sitting long", () => {
  const named = files.filter((file) => !/^[a-z0-9-]+(\.[a-z]+)*\.ts$/.test(basename(file)));
  expect(named).toEqual([]);
  const long = files
    .map((file) => ({ file, lines: read(file).trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > MAX_LINES);
  expect(long).toEqual([]);
});

test("nothing says that it is unfinished", () => {
  expect(others.filter((file) => LEFT_UNDONE.test(read(file)))).toEqual([]);
});

/** The waits of a fixed time that are no part of a loop, and so of no look at a condition. */
function sleeps(text: string): string[] {
  const code = codeOf(text, "without strings");
  const loops = [...code.matchAll(LOOP)].map(({ index }) => [index, endOfBlock(code, index)]);
  return [...code.matchAll(SLEEP)]
    .filter(({ index }) => !loops.some(([from = 0, to = 0]) => from < index && index < to))
    .map(([call]) => call);
}

/** Where the first block after `from` ends. */
function endOfBlock(code: string, from: number): number {
  let depth = 0;
  for (let at = code.indexOf("{", from); at < code.length; at++) {
    if (code[at] === "{") depth += 1;
    if (code[at] === "}") depth -= 1;
    if (depth === 0) return at;
  }
  return code.length;
}

test("tests wait for conditions, never for a time", () => {
  const sleeping = others.filter(isTest).flatMap((file) => {
    const found = sleeps(read(file));
    return found.length === 0 ? [] : [`${file}: ${found.join(", ")}`];
  });
  expect(sleeping).toEqual([]);
});

// The rules themselves: each breach must be found, and what is allowed must pass.
const BREACHES: readonly (readonly [file: string, code: string])[] = [
  ["state/a.ts", 'import { Raft } from "../consensus/raft.ts";'],
  ["state/a.ts", 'import type { Raft } from "../consensus/raft.ts";'],
  ["scheduler/a.ts", 'import {\n  Raft,\n  type Ready,\n} from "../consensus/raft.ts";'],
  ["consensus/a.ts", 'export { Node } from "../node/node.ts";'],
  ["runtime/docker.ts", 'import "../node/disk.ts";'],
  ["runtime/docker.ts", 'const disk = await import("../node/disk.ts");'],
  ["runtime/docker.ts", "const disk = await import(name);"],
  ["lib/a.ts", 'import { join } from "node:path";'],
  ["state/a.ts", 'import { z } from "zod";'],
  ["node/core/a.ts", 'import { openDisk } from "../disk.ts";'],
  ["node/node.ts", 'import { DockerDriver } from "../runtime/docker.ts";'],
  ["runtime/worker-a.ts", 'import { DockerDriver } from "./docker.ts";'],
  ["cli/a.ts", 'import { NodeDriver } from "../node/driver.ts";'],
  ["cli/a.ts", 'import { eventView } from "../node/core/view-types.ts";'],
  ["node/driver.ts", 'import { main } from "../cli/main.ts";'],
  ["node/driver.ts", 'import { World } from "../test/sim/world.ts";'],
  ["consensus/raft.ts", 'import { Cluster } from "./testing.ts";'],
  ["state/a.ts", "const now = Date.now();"],
  ["state/a.ts", "const now = new Date();"],
  ["consensus/a.ts", "setTimeout(() => tick(), 100);"],
  ["lib/a.ts", "const x = Math.random();"],
  ["lib/a.ts", "const x = Math.exp(2);"],
  ["scheduler/a.ts", "const x = load ** 2;"],
  ["scheduler/a.ts", "names.sort((a, b) => a.localeCompare(b));"],
  ["state/a.ts", "const text = amount.toLocaleString();"],
  ["node/node.ts", "async function tick() {}"],
  ["node/core/a.ts", "disk.write(write).then(done);"],
  ["runtime/worker.ts", 'const on = process.env["ORCH_X"];'],
  ["runtime/worker.ts", 'const on = process?.["env"];'],
  ["runtime/memory.ts", "const id = crypto.randomUUID();"],
  ["node/storage.ts", "export const now = (): number => performance.now();"],
];

test.each(BREACHES)("a breach in %s is found: %s", (file, code) => {
  expect(problems(file, code)).not.toEqual([]);
});

test.each([
  [
    "state/a.ts",
    'import { assert } from "../lib/assert.ts";\n// as Date does\nconst a = "process";',
  ],
  ["cli/a.ts", 'import type { JobView } from "../node/core/view-types.ts";'],
  ["cli/commands/a.ts", 'import type { JobView } from "../../node/core/view-types.ts";'],
  ["node/disk.ts", 'import { open } from "node:fs/promises";\nawait file.write(Date.now());'],
  ["node/storage.ts", "export interface Disk { close(): Promise<void>; }"],
  ["runtime/worker.ts", 'import type { Engine } from "./engine.ts";\nconst most = Math.max(1, 2);'],
])("what is allowed in %s passes", (file, code) => {
  expect(problems(file, code)).toEqual([]);
});

test("a wait outside of a loop is found, one between two looks passes", () => {
  expect(sleeps("await delay(100);")).toEqual(["await delay("]);
  expect(sleeps("for (const x of y) {\n  z(x);\n}\nawait sleep(1);")).toEqual(["await sleep("]);
  expect(sleeps("await new Promise((resolve) => setTimeout(resolve, 5));")).toHaveLength(1);
  expect(sleeps("while (!(await ready())) {\n  await delay(50);\n}")).toEqual([]);
  expect(sleeps("setTimeout(() => socket.destroy(), 50);")).toEqual([]);
});
