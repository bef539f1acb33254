import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * `npm run check` (static, unit, scenarios, a short simulation) and `npm test` (with --all: also real disks,
 * sockets, processes, a real engine, the demo). Every step runs, also after one that failed; the last line
 * is `N passed, N failed`.
 */

interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Vitest's: counted test by test. */
  readonly tests: boolean;
  readonly slow: boolean;
}

const STEPS: readonly Step[] = [
  { name: "lint and types", command: ["oxlint"], tests: false, slow: false },
  { name: "format", command: ["oxfmt", "--check", "."], tests: false, slow: false },
  { name: "unused code", command: ["knip"], tests: false, slow: false },
  { name: "unit tests", command: ["vitest", "run", "--project", "unit"], tests: true, slow: false },
  {
    name: "simulation",
    command: ["node", "test/sim/main.ts", "--seeds", "200"],
    tests: false,
    slow: false,
  },
  {
    name: "system tests",
    command: ["vitest", "run", "--project", "system"],
    tests: true,
    slow: true,
  },
  {
    name: "planted bugs",
    command: ["node", "test/sim/mutants.ts", "--quick"],
    tests: false,
    slow: true,
  },
  { name: "demo", command: ["node", "test/demo/main.ts"], tests: false, slow: true },
];

interface Count {
  passed: number;
  failed: number;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function runCommand([program, ...words]: readonly [string, ...string[]]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program, words, { stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", (error) => {
      say(error.message);
      resolve(false);
    });
    child.once("exit", (code) => resolve(code === 0));
  });
}

/** What vitest counted; a run that did not come to an end counts as one failure. */
function countsOf(file: string): Count {
  try {
    const report: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (typeof report !== "object" || report === null) return { passed: 0, failed: 1 };
    const number = (name: string): number => Number(Reflect.get(report, name) ?? 0);
    return { passed: number("numPassedTests"), failed: number("numFailedTests") };
  } catch {
    return { passed: 0, failed: 1 };
  }
}

async function runStep(step: Step, folder: string): Promise<Count> {
  say(`\n== ${step.name}: ${step.command.join(" ")}`);
  const file = join(folder, `${step.name.replaceAll(" ", "-")}.json`);
  const [program, ...words] = step.command;
  const reporters = step.tests
    ? ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`]
    : [];
  const ok = await runCommand([program, ...words, ...reporters]);
  const count = step.tests ? countsOf(file) : { passed: ok ? 1 : 0, failed: ok ? 0 : 1 };
  if (!ok && count.failed === 0) count.failed = 1;
  return count;
}

async function main(): Promise<void> {
  const all = process.argv.includes("--all");
  const folder = mkdtempSync(join(tmpdir(), "orch-test-"));
  const started = performance.now();
  const total: Count = { passed: 0, failed: 0 };
  const rows: string[] = [];
  for (const step of STEPS.filter(({ slow }) => all || !slow)) {
    const begun = performance.now();
    const count = await runStep(step, folder);
    total.passed += count.passed;
    total.failed += count.failed;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1).padStart(6);
    rows.push(`${seconds} s  ${step.name}: ${count.passed} passed, ${count.failed} failed`);
  }
  rmSync(folder, { recursive: true, force: true });
  say(`\n${rows.join("\n")}`);
  say(`${((performance.now() - started) / 1000).toFixed(0)} s in all`);
  say(`${total.passed} passed, ${total.failed} failed`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}

await main();
