import { randomBytes } from "node:crypto";
import type { NodeView, TokenView } from "../../node/core/view-types.ts";
import { pathOf } from "../client.ts";
import type { Context } from "../context.ts";
import { note, print, printJson } from "../output.ts";
import { printNodes } from "../views.ts";
import { managedOrKnown } from "./cluster-alone.ts";

const SECRET_BYTES = 32;

/** `orch node ls` */
export async function nodeLs(context: Context): Promise<void> {
  const { json, quiet } = context;
  const nodes = await managedOrKnown<readonly NodeView[]>(context, "/v1/nodes");
  if (json) return printJson(nodes);
  const sorted = nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  if (!quiet) return printNodes(sorted);
  for (const node of sorted) print(node.id);
}

/** `orch node inspect NODE` */
export async function nodeInspect(context: Context, name: string): Promise<void> {
  const node = await managedOrKnown<NodeView>(context, pathOf("nodes", name));
  if (context.quiet) print(node.id);
  else printJson(node);
}

/** `orch node token [--rotate]` */
export async function nodeToken(
  { client, json, quiet }: Context,
  isRotating: boolean,
): Promise<void> {
  if (isRotating) {
    const secret = randomBytes(SECRET_BYTES).toString("base64url");
    await client.write("PUT", "/v1/nodes/token", { secret });
  }
  const token = await client.get<TokenView>("/v1/nodes/token");
  if (json) return printJson(token);
  print(token.token);
  if (!quiet && process.stdout.isTTY)
    note("On the other machine: orch node join <address of a node> --token …");
}
