import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerSpec } from "./engine.ts";

/**
 * CPU and memory limits of a process group, by control groups (version 2, or 1). They need root and a
 * writable /sys/fs/cgroup; elsewhere there are none, and a task may use what the machine has.
 */
const ROOT = "/sys/fs/cgroup";
const PERIOD_US = 100_000;

interface Setting {
  readonly folder: string;
  readonly file: string;
  readonly value: string;
}

/** Makes the control groups of a task, again or anew. Returns the `cgroup.procs` files to join; none without limits. */
export function limitTask(taskFolder: string, limits: ContainerSpec["limits"]): string[] {
  if (limits.cpuMilli === null && limits.memoryMib === null) return [];
  const name = groupName(taskFolder);
  const unified = existsSync(join(ROOT, "cgroup.controllers"));
  try {
    const settings = unified ? unifiedSettings(name, limits) : splitSettings(name, limits);
    for (const setting of settings) {
      mkdirSync(setting.folder, { recursive: true });
      writeFileSync(join(setting.folder, setting.file), setting.value);
    }
    return [...new Set(settings.map((setting) => join(setting.folder, "cgroup.procs")))];
  } catch {
    releaseLimits(taskFolder);
    return [];
  }
}

/** Whether the kernel has killed a process of the task for want of memory since its groups were made. */
export function ranOutOfMemory(taskFolder: string): boolean {
  const name = groupName(taskFolder);
  const files = [
    join(ROOT, "orch", name, "memory.events"),
    join(ROOT, "memory/orch", name, "memory.oom_control"),
  ];
  return files.some((file) => {
    try {
      return /^oom_kill [1-9]/mu.test(readFileSync(file, "latin1"));
    } catch {
      return false;
    }
  });
}

/** Removes a task's control groups, if there are any and nobody is left in them. */
export function releaseLimits(taskFolder: string): void {
  const name = groupName(taskFolder);
  for (const parent of ["orch", "memory/orch", "cpu/orch"]) {
    try {
      rmdirSync(join(ROOT, parent, name));
      // Succeeds after the last task only.
      rmdirSync(join(ROOT, parent));
    } catch {
      // Not there, or in use, if only by somebody who is dying: an empty control group costs nothing.
    }
  }
}

/** One name per folder of the machine, so that the nodes of a development cluster do not meet. */
function groupName(taskFolder: string): string {
  return createHash("sha256").update(taskFolder).digest("hex").slice(0, 16);
}

function unifiedSettings(name: string, limits: ContainerSpec["limits"]): Setting[] {
  mkdirSync(join(ROOT, "orch"), { recursive: true });
  for (const parent of [ROOT, join(ROOT, "orch")]) {
    writeFileSync(join(parent, "cgroup.subtree_control"), "+cpu +memory");
  }
  const folder = join(ROOT, "orch", name);
  const settings: Setting[] = [];
  if (limits.memoryMib !== null)
    settings.push({ folder, file: "memory.max", value: bytes(limits.memoryMib) });
  if (limits.cpuMilli !== null) {
    settings.push({ folder, file: "cpu.max", value: `${quotaUs(limits.cpuMilli)} ${PERIOD_US}` });
  }
  return settings;
}

function splitSettings(name: string, limits: ContainerSpec["limits"]): Setting[] {
  const memory = join(ROOT, "memory/orch", name);
  const cpu = join(ROOT, "cpu/orch", name);
  const settings: Setting[] = [];
  if (limits.memoryMib !== null) {
    settings.push({
      folder: memory,
      file: "memory.limit_in_bytes",
      value: bytes(limits.memoryMib),
    });
  }
  if (limits.cpuMilli !== null) {
    settings.push({ folder: cpu, file: "cpu.cfs_period_us", value: String(PERIOD_US) });
    settings.push({ folder: cpu, file: "cpu.cfs_quota_us", value: quotaUs(limits.cpuMilli) });
  }
  return settings;
}

function bytes(mib: number): string {
  return String(mib * 1024 * 1024);
}

/** The kernel takes no quota below 1 ms. */
function quotaUs(cpuMilli: number): string {
  return String(Math.max(1_000, (cpuMilli * PERIOD_US) / 1_000));
}
