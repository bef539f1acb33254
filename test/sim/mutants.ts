import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Plants known bugs, one at a time, into a copy of the sources and runs the simulator there: each must be
 * found. `node test/sim/mutants.ts [--seeds N]`.
 */

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const MUTANTS: readonly Mutant[] = [
  {
    name: "a vote is sent before it is durable",
    file: "consensus/election.ts",
    find: "s.sendDurable({\n    kind: `${m.kind}-reply`",
    replace: "s.send({\n    kind: `${m.kind}-reply`",
  },
  {
    name: "a candidate asks for votes before its term is durable",
    file: "consensus/election.ts",
    find: "s.sendDurable({ kind, from: s.id, to, term, lastIndex, lastTerm });",
    replace: "s.send({ kind, from: s.id, to, term, lastIndex, lastTerm });",
  },
  {
    name: "an acknowledgement is sent before the entries are durable",
    file: "consensus/replication.ts",
    find: "s.sendDurable({ ...reply, index: matched, rejected: false });",
    replace: "s.send({ ...reply, index: matched, rejected: false });",
  },
  {
    name: "a node votes twice in a term",
    file: "consensus/election.ts",
    find: "const free = s.vote === m.from ||",
    replace: "const free = true || s.vote === m.from ||",
  },
  {
    name: "a vote goes to a shorter log",
    file: "consensus/election.ts",
    find: "const granted = may && s.log.isUpToDate(m.lastIndex, m.lastTerm);",
    replace: "const granted = may;",
  },
  {
    name: "a write is done twice under one key",
    file: "state/cluster.ts",
    find: "if (known !== undefined) return { outcome: known, events: [] };",
    replace: "if (known !== undefined && index < 0) return { outcome: known, events: [] };",
  },
  {
    name: "a read is not confirmed by a quorum",
    file: "consensus/raft.ts",
    find: "const done = this.#reads.filter(({ round }) => round <= confirmed);",
    replace: "const done = this.#reads.filter(({ round }) => round <= confirmed + 1_000_000);",
  },
];

const FOLDERS = ["lib", "consensus", "state", "scheduler", "runtime", "node", "test/sim"];

function runMutant(mutant: Mutant, seeds: string): boolean {
  const folder = mkdtempSync(join(tmpdir(), "orch-mutant-"));
  try {
    for (const name of FOLDERS) cpSync(name, join(folder, name), { recursive: true });
    cpSync("package.json", join(folder, "package.json"));
    symlinkSync(join(process.cwd(), "node_modules"), join(folder, "node_modules"));
    const path = join(folder, mutant.file);
    const source = readFileSync(path, "utf8");
    if (source.split(mutant.find).length !== 2) {
      process.stdout.write(
        `NOT PLANTED  ${mutant.name}: its place in ${mutant.file} has changed\n`,
      );
      return false;
    }
    writeFileSync(path, source.replace(mutant.find, mutant.replace));
    const begun = performance.now();
    const words = ["test/sim/main.ts", "--seeds", seeds, "--until-violation"];
    const run = spawnSync(process.execPath, words, { cwd: folder, encoding: "utf8" });
    const caught = run.status !== 0;
    const [found = ""] = run.stdout.split("\n").filter((line) => line.includes("seed"));
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    const verdict = caught ? "caught     " : "NOT CAUGHT ";
    process.stdout.write(`${verdict}  ${mutant.name} (${seconds} s): ${found.slice(0, 160)}\n`);
    return caught;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const at = process.argv.indexOf("--seeds");
const seeds = at === -1 ? "300" : (process.argv[at + 1] ?? "300");
const missed = MUTANTS.filter((mutant) => !runMutant(mutant, seeds));
process.stdout.write(
  `${MUTANTS.length - missed.length} of ${MUTANTS.length} planted bugs caught\n`,
);
process.exitCode = missed.length === 0 ? 0 : 1;
