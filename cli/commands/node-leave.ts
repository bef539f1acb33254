import { setTimeout as delay } from "node:timers/promises";
import { fault, OrchError } from "../../lib/errors.ts";
import type { HealthView, NodeView, WriteView } from "../../node/core/view-types.ts";
import { pathOf } from "../client.ts";
import type { Client } from "../client.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";
import { startSpinner } from "../spinner.ts";

/** As long as containers may take to stop one after the other; a lost voter is replaced in far less. */
const WAIT_MS = 300_000;
const LOOK_EVERY_MS = 250;

/** `orch node leave [NODE]`: without a name the node whose API answers. */
export async function nodeLeave(
  context: Context,
  name: string | null,
  wait: boolean,
): Promise<void> {
  const { client, json, quiet } = context;
  const wanted = name ?? (await client.get<HealthView>("/healthz")).id;
  const node = await client.get<NodeView>(pathOf("nodes", wanted));
  const written = await client.write<WriteView>("POST", pathOf("nodes", node.id, "/leave"), {});
  if (!wait) {
    if (json) return printJson(written);
    if (quiet) return print(node.id);
    return note(`node ${node.name} leaves: watch it with \`orch node ls\``);
  }
  await untilGone(context, node);
  if (json) return printJson({ id: node.id, name: node.name, left: true });
  if (quiet) return print(node.id);
  note(`node ${node.name} has left the cluster`);
}

/** `orch node rm NODE [--force]` */
export async function nodeRm(
  { client, json, quiet }: Context,
  name: string,
  force: boolean,
): Promise<void> {
  const node = await client.get<NodeView>(pathOf("nodes", name));
  const query = force ? "?force=true" : "";
  const written = await client.remove<WriteView>(pathOf("nodes", node.id, query));
  if (json) return printJson(written);
  if (quiet) return print(node.id);
  note(`node ${node.name} is removed`);
}

async function untilGone(
  { client, json, quiet, timeoutMs }: Context,
  node: NodeView,
): Promise<void> {
  const limitMs = timeoutMs ?? WAIT_MS;
  const deadlineMs = performance.now() + limitMs;
  const isTold = !json && !quiet;
  const spinner = isTold && process.stderr.isTTY ? startSpinner(`${node.name}: leaving`) : null;
  // What it had when it was asked comes first: it may be handed over before the next look.
  let now: NodeView | null = node;
  let told = "";
  try {
    while (now !== null) {
      const text = `${node.name}: ${progress(now)}`;
      if (spinner !== null) spinner.update(text);
      else if (isTold && text !== told) note(text);
      told = text;
      if (performance.now() > deadlineMs) throw tooLate(text, limitMs);
      await delay(LOOK_EVERY_MS);
      now = await findNode(client, node);
    }
  } finally {
    spinner?.end();
  }
}

/** Null: it is no member any more, by the cluster's word or by its own. */
async function findNode(client: Client, { id }: NodeView): Promise<NodeView | null> {
  try {
    return await client.find<NodeView>(pathOf("nodes", id));
  } catch (error) {
    if (error instanceof OrchError && error.fault.code === "removed") return null;
    throw error;
  }
}

const SEATS: Readonly<Record<NonNullable<NodeView["role"]>, string>> = {
  voter: "it still votes",
  standby: "it votes no more, and still holds the log",
  member: "its vote is handed over",
};

/** What is left to do. */
function progress({ status, tasks, role }: NodeView): string {
  const away = status === "down" || status === "suspect" ? ` (${status})` : "";
  // The manager's answer has both.
  const left =
    tasks === null || tasks === 0 ? "no tasks left" : `${tasks} task${tasks === 1 ? "" : "s"} left`;
  return `${left}, ${SEATS[role ?? "member"]}${away}`;
}

function tooLate(text: string, limitMs: number): OrchError {
  return new OrchError(
    fault(
      "unknown",
      `it has not left after ${Math.round(limitMs / 1_000)} s: ${text}`,
      "It goes on leaving: watch it with `orch node ls`. A node that is gone for good goes with `orch node rm`.",
    ),
  );
}
