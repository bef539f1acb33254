import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { Duplex, Readable } from "node:stream";
import { fault, OrchError } from "../lib/errors.ts";

/**
 * A small shell leads each task's process group: it outlives orch, waits for the command and writes
 * its exit code. It says `started` by closing fd 3, takes no notice of the signals sent to the group,
 * and at the end kills what the command left behind. The marker line `end` and the line end after the
 * code tell a whole file from one cut short.
 */
const SHIM = `
orch_folder=$1 orch_run=$2 orch_procs=$3
shift 3
trap : HUP INT QUIT TERM
orch_stat=- orch_boot=-
[ ! -r /proc/$$/stat ] || read -r orch_stat </proc/$$/stat
[ ! -r /proc/sys/kernel/random/boot_id ] || read -r orch_boot </proc/sys/kernel/random/boot_id
IFS=:
set -f
for orch_file in $orch_procs; do echo $$ >"$orch_file" || exit 125; done
set +f
unset IFS
printf '%s\\n' "$orch_run" "$$" "$orch_boot" "$orch_stat" end >"$orch_folder/run" || exit 125
exec 3>&-
"$@" >>"$orch_folder/stdout" 2>>"$orch_folder/stderr" </dev/null
orch_code=$?
printf '%s %s\\n' "$orch_run" "$orch_code" >"$orch_folder/exit"
kill -KILL 0
`;

/** How long the shell may take to say that it started: far more than a loaded machine needs. */
const START_MS = 10_000;

/** Tells a process from a later one with the same number. Null where there is no /proc. */
export interface Leader {
  readonly pid: number;
  readonly boot: string | null;
  readonly startTicks: string | null;
}

export interface ShimOptions {
  readonly folder: string;
  readonly run: number;
  /** `cgroup.procs` files that the group is to join; none holds a colon. */
  readonly procs: readonly string[];
  /** The program's absolute path, then its arguments. */
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * Starts a task's process group. Resolves when the run file is written, just before the command itself.
 * Throws OrchError engine-unavailable when the system will not or cannot start it now.
 */
export async function startShim(options: ShimOptions): Promise<ChildProcess> {
  const parameters = [options.folder, String(options.run), options.procs.join(":")];
  const child = spawn("/bin/sh", ["-c", SHIM, "orch-task", ...parameters, ...options.argv], {
    cwd: options.cwd,
    env: options.environment,
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  child.unref();
  child.on("error", () => undefined);
  const pipe = child.stdio[3];
  const signal = AbortSignal.timeout(START_MS);
  try {
    // "error" of the child (EAGAIN, ENOMEM, EMFILE) rejects; the shell's death closes the pipe as well.
    const spawned = once(child, "spawn", { signal });
    if (pipe instanceof Duplex || pipe instanceof Readable) {
      pipe.resume();
      await Promise.all([spawned, once(pipe, "close", { signal })]);
    } else {
      await spawned;
    }
    return child;
  } catch (error) {
    pipe?.destroy();
    killGroup(child.pid ?? 0, "SIGKILL");
    const reason = error instanceof Error ? error.message : String(error);
    throw new OrchError(
      fault(
        "engine-unavailable",
        `The process driver cannot start a process in ${options.folder}: ${reason}.`,
        "Look at the machine's load and its limits on processes and open files; orch tries again.",
      ),
      error,
    );
  }
}

/** Whether the group's leader runs. A zombie does not: it may never be reaped where PID 1 reaps nothing. */
export function isAlive(leader: Leader): boolean {
  if (leader.boot === null || leader.startTicks === null) return signalReaches(leader.pid);
  if (leader.boot !== bootId()) return false;
  const stat = readStat(leader.pid);
  return stat !== null && !stat.dead && stat.startTicks === leader.startTicks;
}

/** Sends a signal to the whole group of a leader, unless its number belongs to a later process now. */
export function signalGroup(leader: Leader, signal: NodeJS.Signals): void {
  if (leader.boot !== null && leader.boot !== bootId()) return;
  const stat = leader.startTicks === null ? null : readStat(leader.pid);
  // With the leader gone the number still cannot be anyone else's while the group has members.
  if (stat !== null && stat.startTicks !== leader.startTicks) return;
  killGroup(leader.pid, signal);
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  if (pid <= 1) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: the group is gone, which is what was asked; EPERM: only zombies are left (macOS).
  }
}

/** This process, as others can tell it from a later one with its number. */
export function ownLeader(): Leader {
  return {
    pid: process.pid,
    boot: bootId(),
    startTicks: readStat(process.pid)?.startTicks ?? null,
  };
}

function signalReaches(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The fields of /proc/<pid>/stat that matter; the program's name before them may hold spaces and brackets. */
export function parseStat(text: string): { dead: boolean; startTicks: string } | null {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state] = fields;
  const startTicks = fields[19];
  if (state === undefined || startTicks === undefined) return null;
  return { dead: state === "Z" || state === "X", startTicks };
}

function readStat(pid: number): { dead: boolean; startTicks: string } | null {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return null;
  }
}

/** Another for each start of the machine; null where nobody can say. */
export function bootId(): string | null {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return null;
  }
}
