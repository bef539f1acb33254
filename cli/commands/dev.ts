import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { request } from "undici";
import { fault, OrchError } from "../../lib/errors.ts";
import type { NodeView, TaskView } from "../../node/core/view-types.ts";
import { codeOf, messageOf } from "../boundary.ts";
import { Client } from "../client.ts";
import type { GlobalFlags } from "../context.ts";
import { startDevCluster } from "../dev-cluster.ts";
import type { DevCluster } from "../dev-cluster.ts";
import { removeDevPointer, writeDevPointer } from "../dev-pointer.ts";
import { parseHost } from "../endpoint.ts";
import { note, paint, print, printJson } from "../output.ts";
import { readSubmission, submit } from "../submission.ts";
import type { Submission } from "../submission.ts";
import { plain } from "../table.ts";
import { bySlot, printNodes, printTasks, taskUrls } from "../views.ts";
import { waitForJob } from "../wait-job.ts";

export interface DevFlags {
  readonly nodes: string;
  readonly driver?: "docker" | "process";
}

/** More processes than a laptop takes; a cluster of so many is the simulator's business. */
const MAX_NODES = 20;
const WAIT_MS = 120_000;
const MAX_FETCHED = 20;
/** A task counts as running when its process runs; its server may need a moment more. */
const FETCH_MS = 5_000;
const FETCH_RETRY_MS = 100;

interface Stopping {
  /** Aborted by the first Ctrl-C, SIGTERM or SIGHUP. */
  readonly asked: AbortSignal;
  /** Aborted by the second. */
  readonly hurried: AbortSignal;
  release(): void;
}

/** `orch dev [FILE]`: returns after the cluster is ended. */
export async function dev(
  file: string | null,
  flags: DevFlags,
  globals: GlobalFlags,
): Promise<void> {
  const nodes = nodeCount(flags.nodes);
  const silent = (globals.json ?? false) || (globals.quiet ?? false);
  const startedMs = performance.now();
  const submission = file === null ? null : await readSubmission(file);
  const stopping = listenForStop(silent);
  let cluster: DevCluster | null = null;
  try {
    if (!silent) note(`Starting ${nodes} ${nodes === 1 ? "node" : "nodes"}`);
    const driver = flags.driver === undefined ? {} : { driver: flags.driver };
    cluster = await startDevCluster({ nodes, ...driver, signal: stopping.asked });
    const dead = new AbortController();
    const { nodes: members } = cluster;
    for (const node of members) {
      node.onDeath((how) => {
        const goesOn = members.some(({ isRunning }) => isRunning);
        const rest = goesOn ? "the cluster goes on" : "it was the last one";
        note(
          `orch: node ${node.name} ended on its own (${how}); ${rest}. Its log: ${node.logPath}`,
        );
        if (!goesOn) dead.abort();
      });
    }
    await writeDevPointer(cluster.hosts);
    await show(cluster, submission, { globals, silent, startedMs, signal: stopping.asked });
    await untilOver(AbortSignal.any([stopping.asked, dead.signal]));
  } catch (error) {
    // Ctrl-C while it starts is no failure: what was under way fails only because of it.
    if (!stopping.asked.aborted) throw error;
  } finally {
    await end(cluster, stopping, silent);
  }
}

/** Signals alone do not keep a process alive: without a node left it would just end, and clean up nothing. */
async function untilOver(over: AbortSignal): Promise<void> {
  const alive = setInterval(() => undefined, 1_000_000);
  try {
    if (!over.aborted) await once(over, "abort");
  } finally {
    clearInterval(alive);
  }
}

function nodeCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= MAX_NODES) return count;
  throw new OrchError(
    fault(
      "usage",
      `--nodes "${text}" is no count from 1 to ${MAX_NODES}`,
      "Three make a cluster that survives the loss of one.",
    ),
  );
}

function listenForStop(silent: boolean): Stopping {
  const asked = new AbortController();
  const hurried = new AbortController();
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const onSignal = (): void => {
    if (!asked.signal.aborted) {
      asked.abort();
      return;
    }
    if (!silent && !hurried.signal.aborted) note("Hurrying");
    hurried.abort();
  };
  for (const signal of signals) process.on(signal, onSignal);
  return {
    asked: asked.signal,
    hurried: hurried.signal,
    release: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

async function end(cluster: DevCluster | null, stopping: Stopping, silent: boolean): Promise<void> {
  const startedMs = performance.now();
  try {
    await removeDevPointer();
    if (cluster === null) {
      if (!silent && stopping.asked.aborted) note("Ended before it was up; nothing is left behind");
      return;
    }
    if (!silent) note("Ending the cluster (Ctrl-C again to hurry)");
    const leftovers = await cluster.stop(stopping.hurried);
    for (const leftover of leftovers) note(`orch: ${leftover}`);
    if (leftovers.length > 0) process.exitCode = 1;
    else if (!silent) note(`Ended after ${secondsSince(startedMs)} s; nothing is left behind`);
  } finally {
    stopping.release();
  }
}

interface ShowOptions {
  readonly globals: GlobalFlags;
  readonly silent: boolean;
  readonly startedMs: number;
  readonly signal: AbortSignal;
}

/** Submits the file, waits for it and shows what there is. */
async function show(
  cluster: DevCluster,
  submission: Submission | null,
  options: ShowOptions,
): Promise<void> {
  const { globals, silent, startedMs, signal } = options;
  const client = new Client({
    endpoints: cluster.hosts.map((host) => parseHost(host, null)),
    timeoutMs: 30_000,
    onConnected: () => undefined,
  });
  try {
    const count = cluster.nodes.length;
    const ready = count === 1 ? "1 node is ready" : `${count} nodes are ready`;
    if (!silent) note(`${ready} after ${secondsSince(startedMs)} s`);
    if (submission !== null) {
      const { name, version } = await submit(client, submission, null, silent);
      const wait = { name, version: version ?? 0, timeoutMs: WAIT_MS, progress: !silent, signal };
      await waitForJob(client, wait);
    }
    const nodes = await client.get<readonly NodeView[]>("/v1/nodes");
    const tasks = (await client.get<readonly TaskView[]>("/v1/tasks")).toSorted(bySlot);
    if (globals.json) {
      printJson({
        pid: process.pid,
        driver: nodes[0]?.driver ?? "",
        hosts: cluster.hosts,
        folder: cluster.folder,
        nodes,
        tasks,
      });
      return;
    }
    if (globals.quiet) {
      for (const host of cluster.hosts) print(host);
      return;
    }
    print("");
    printNodes(nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1)));
    if (tasks.length > 0) {
      print("");
      printTasks(tasks, Date.now());
      await showAnswers(tasks, signal);
    }
    print("");
    print(`Ready after ${secondsSince(startedMs)} s. Ctrl-C ends all of it.`);
    print("In another terminal `orch ps` finds this cluster by itself; other programs need");
    print(`  export ORCH_HOST=${cluster.hosts.join(",")}`);
    print(`The nodes' logs are ${cluster.folder}/*.log`);
  } finally {
    await client.close();
  }
}

/** What each published port really answers. */
async function showAnswers(tasks: readonly TaskView[], signal: AbortSignal): Promise<void> {
  const urls = taskUrls(tasks).slice(0, MAX_FETCHED);
  if (urls.length === 0) return;
  print("");
  const answers = await Promise.all(urls.map(({ url }) => fetchFirstLine(url, signal)));
  for (const [index, { url }] of urls.entries()) print(`${url}  ${answers[index] ?? ""}`);
}

async function fetchFirstLine(url: string, signal: AbortSignal): Promise<string> {
  const deadlineMs = performance.now() + FETCH_MS;
  for (;;) {
    try {
      const response = await request(url, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(FETCH_MS)]),
      });
      const [line = ""] = (await response.body.text()).split("\n", 1);
      return `${response.statusCode}  ${plain(line).slice(0, 120)}`;
    } catch (error) {
      if (signal.aborted) throw error;
      if (performance.now() > deadlineMs) {
        return paint("red", `no answer: ${codeOf(error) ?? messageOf(error)}`);
      }
      await delay(FETCH_RETRY_MS, undefined, { signal });
    }
  }
}

function secondsSince(startedMs: number): string {
  return ((performance.now() - startedMs) / 1_000).toFixed(1);
}
