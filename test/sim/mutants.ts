import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Catch } from "./hunt.ts";
import type { Mutant } from "./mutant.ts";
import { LEASE_MUTANTS } from "./mutants-lease.ts";
import { NODE_MUTANTS } from "./mutants-node.ts";
import { RAFT_MUTANTS } from "./mutants-raft.ts";

/**
 * The mutation gate: plants known bugs, one at a time, into a copy of the sources and runs the simulator there.
 * Each must be found from every one of several first seeds. `npm run sim:mutants [-- --quick] [--only WORDS,WORDS]
 * [--starts N] [--seeds N] [--write]`; `--write` renews the table in docs/mutants.md.
 */

const MUTANTS: readonly Mutant[] = [...RAFT_MUTANTS, ...NODE_MUTANTS, ...LEASE_MUTANTS];
const FOLDERS = ["lib", "consensus", "state", "scheduler", "runtime", "node", "test"];
const PAGE = "docs/mutants.md";
/** Seeds of two hunts never meet. */
const START_DISTANCE = 100_000;
/** One that is not found is run for as long as most bugs take, and longer than that says little more. */
const UNFOUND_SEEDS = 60;
/** A bug may make the core turn for ever. */
const HUNT_MAX_MS = 1_800_000;

interface Found extends Catch {
  readonly seconds: number;
}

interface Verdict {
  readonly mutant: Mutant;
  readonly ok: boolean;
  readonly problem: string | null;
  readonly found: readonly Found[];
}

function plant(mutant: Mutant): string | null {
  const path = mutant.file;
  const source = readFileSync(path, "utf8");
  if (source.split(mutant.find).length !== 2) return null;
  const folder = mkdtempSync(join(tmpdir(), "orch-mutant-"));
  for (const name of FOLDERS) cpSync(name, join(folder, name), { recursive: true });
  cpSync("package.json", join(folder, "package.json"));
  symlinkSync(join(process.cwd(), "node_modules"), join(folder, "node_modules"));
  // Not as a pattern: `$` stands for itself.
  writeFileSync(
    join(folder, path),
    source.replace(mutant.find, () => mutant.replace),
  );
  return folder;
}

/** Each hunt has a process of its own: a bug may also hang it. */
function hunt(folder: string, from: number, seeds: number): Promise<Found> {
  const begun = performance.now();
  const words = ["test/sim/hunt.ts", "--from", `${from}`, "--seeds", `${seeds}`];
  return new Promise((resolve) => {
    const stdio = ["ignore", "pipe", "inherit"] as const;
    const child = spawn(process.execPath, words, { cwd: folder, stdio: [...stdio] });
    const overdue = setTimeout(() => child.kill("SIGKILL"), HUNT_MAX_MS);
    let output = "";
    child.stdout?.on("data", (data: Buffer) => (output += data.toString()));
    child.once("close", () => {
      clearTimeout(overdue);
      const seconds = (performance.now() - begun) / 1000;
      const ended = { seeds: null, by: "", text: "the simulator itself ended" };
      const caught: Catch = output === "" ? ended : JSON.parse(output);
      resolve({ ...caught, seconds });
    });
  });
}

/** Until a seed breaks that holds without the bug: what is wrong with the sources anyhow finds nothing. */
async function huntBug(folder: string, from: number, seeds: number): Promise<Found> {
  let seconds = 0;
  for (let tried = 0; ;) {
    const found = await hunt(folder, from + tried, seeds - tried);
    seconds += found.seconds;
    if (found.seeds === null) return { ...found, seconds };
    tried += found.seeds;
    const without = await hunt(".", from + tried - 1, 1);
    if (without.seeds === null) return { ...found, seeds: tried, seconds };
  }
}

async function judge(mutant: Mutant, starts: number, seeds: number): Promise<Verdict> {
  const folder = plant(mutant);
  if (folder === null) {
    const problem = `is not planted any more: its place in ${mutant.file} has changed`;
    return { mutant, ok: false, problem, found: [] };
  }
  try {
    const found: Found[] = [];
    for (let i = 0; i < starts; i++) {
      const most = mutant.unfound === undefined ? seeds : Math.min(seeds, UNFOUND_SEEDS);
      found.push(await huntBug(folder, 1 + i * START_DISTANCE, most));
      // Missed once is missed, and once is enough where nothing is to be found.
      if (found.at(-1)?.seeds === null) break;
    }
    const isCaught = found.every((one) => one.seeds !== null);
    const isUnfound = mutant.unfound !== undefined;
    const problem =
      isCaught === isUnfound
        ? isCaught
          ? "is found: drop what explains why not"
          : "is missed"
        : null;
    return { mutant, ok: problem === null, problem, found };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? 0;
}

/** The cells of a row: what it took, and what found it. */
function cells({ mutant, found, problem }: Verdict): string[] {
  const seeds = found.flatMap((one) => (one.seeds === null ? [] : [one.seeds]));
  const name = `${mutant.item}`;
  const place = mutant.file;
  if (problem !== null) return [name, mutant.name, place, problem, "", ""];
  if (mutant.unfound !== undefined) {
    return [name, mutant.name, place, "not found", "", mutant.unfound];
  }
  const by = [...new Set(found.map((one) => one.by))].join(", ");
  const seconds = median(found.map((one) => one.seconds)).toFixed(1);
  return [name, mutant.name, place, `${median(seeds)}`, seconds, by];
}

function line(verdict: Verdict): string {
  const [item = "", name, , result, seconds, by] = cells(verdict);
  const mark = verdict.ok ? "ok  " : "FAIL";
  const text = verdict.found.at(-1)?.text ?? "";
  const took = seconds === "" ? "" : ` seeds, ${seconds} s`;
  return `${mark} ${item.padStart(2)} ${name}: ${result}${took}: ${by} (${text.slice(0, 200)})\n`;
}

const HEAD = ["item", "bug", "place", "seeds (median)", "seconds", "found by"];

/** In Markdown, with columns as wide as their widest cell: as the formatter would have it. */
function table(body: readonly (readonly string[])[]): string {
  const rows = [HEAD, ...body];
  const widths = HEAD.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  const text = (row: readonly string[]): string =>
    `| ${widths.map((width, at) => (row[at] ?? "").padEnd(width)).join(" | ")} |`;
  const dashes = widths.map((width) => "-".repeat(width));
  return [HEAD, dashes, ...body].map(text).join("\n");
}

/** Replaces the rows in the page, whose table is its end; those of bugs that were not planted now stay. */
function renew(verdicts: readonly Verdict[]): void {
  const page = readFileSync(PAGE, "utf8");
  const begin = page.indexOf("\n|") + 1;
  const rows = new Map<string, string[]>();
  for (const text of page.slice(begin).split("\n")) {
    const row = text.split("|").map((cell) => cell.trim());
    rows.set(row[2] ?? "", row.slice(1, -1));
  }
  for (const verdict of verdicts) rows.set(verdict.mutant.name, cells(verdict));
  const known = MUTANTS.map(({ name }) => rows.get(name)).filter((row) => row !== undefined);
  writeFileSync(PAGE, `${page.slice(0, begin)}${table(known)}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      starts: { type: "string" },
      seeds: { type: "string", default: "1500" },
      write: { type: "boolean", default: false },
    },
  });
  const isChosen = ({ quick, name }: Mutant): boolean =>
    (!values.quick || quick === true) &&
    values.only.split(",").some((words) => name.includes(words));
  const chosen = MUTANTS.filter(isChosen);
  const starts = Number(values.starts ?? (values.quick ? 1 : 3));
  const begun = performance.now();
  const waiting = [...chosen.entries()];
  const verdicts: Verdict[] = [];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [i, mutant] = next;
      const verdict = await judge(mutant, starts, Number(values.seeds));
      verdicts[i] = verdict;
      process.stdout.write(line(verdict));
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const failed = verdicts.filter(({ ok }) => !ok);
  if (values.write) renew(verdicts.filter(({ ok }) => ok));
  process.stdout.write(`\n${table(verdicts.map(cells))}\n\n`);
  const seconds = ((performance.now() - begun) / 1000).toFixed(0);
  process.stdout.write(
    `${verdicts.length - failed.length} of ${verdicts.length} planted bugs as they should be, ${seconds} s\n`,
  );
  process.exitCode = failed.length === 0 ? 0 : 1;
}

await main();
