import { randomUUID } from "node:crypto";
import { z } from "zod";
import { fault, OrchError } from "../lib/errors.ts";
import { nodeId, type NodeId } from "../state/ids.ts";
import type { NodeFacts } from "../state/node-record.ts";
import type { Request, Response } from "./core/request.ts";
import type { Node } from "./node.ts";
import type { Door, Identity } from "./storage.ts";

/** What is said inside the join protocol, after both ends have proved the secret. */

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const word = z.string().max(1_000);

const Facts = z.strictObject({
  name: z.string().min(1).max(63),
  addresses: z.array(word).max(100),
  datacenter: word,
  labels: z.record(word, word),
  os: word,
  arch: word,
  resources: z.strictObject({ cpuMilli: count, memoryMib: count, diskMib: count }),
  drivers: z.array(z.enum(["docker", "process", "memory"])),
  publishAddress: word,
  portRange: z.strictObject({ first: count, last: count }),
  orchVersion: word,
  featureLevel: count,
  mayVote: z.boolean(),
  mayWork: z.boolean(),
}) satisfies z.ZodType<NodeFacts>;

const Hello = z.strictObject({ facts: Facts, attempt: z.uuid() });

const Admission = z.object({
  clusterId: z.string().min(1),
  raftId: z.int().min(1),
  peers: z.array(
    z.object({ id: z.string().min(1), raftId: z.int().min(1), addresses: z.array(z.string()) }),
  ),
});

/** What the manager answers to the admission of a node. */
const Admitted = z.object({ clusterId: z.string(), raftId: z.int() });

const text = new TextEncoder();
const utf8 = new TextDecoder();

export function encodeHello(facts: NodeFacts): Uint8Array {
  return text.encode(JSON.stringify({ facts, attempt: randomUUID() }));
}

/** How long a joiner waits for the manager to admit it. */
const ADMIT_MS = 20_000;

/** The member's side: has the cluster admit the joiner, and tells it where the others are. Throws OrchError. */
export async function admit(
  joiner: NodeId,
  hello: Uint8Array,
  node: Node,
  request: (request: Request, timeoutMs: number) => Promise<Response>,
): Promise<Uint8Array> {
  const parsed = Hello.safeParse(parseJson(hello));
  if (!parsed.success) {
    throw new OrchError(
      fault(
        "invalid",
        "the joining node speaks another version",
        "Install the same orch everywhere.",
      ),
    );
  }
  const { facts, attempt } = parsed.data;
  const command = { kind: "node-admit", node: joiner, facts } as const;
  const response = await request({ kind: "write", key: `join-${attempt}`, command }, ADMIT_MS);
  if (response.kind === "refused") throw new OrchError(response.fault);
  const members = node.roster.members.filter(({ id }) => id !== joiner);
  const holders = members.filter(({ holdsLog }) => holdsLog);
  const peers = holders.map(({ id, raftId, addresses }) => ({ id, raftId, addresses }));
  const { clusterId, raftId } = Admitted.parse(response.body);
  return text.encode(JSON.stringify({ clusterId, raftId, peers }));
}

/**
 * The joiner's side: who it is from now on. `door`: where it knocked and who opened; null: not to be kept. Throws OrchError when the
 * answer cannot be read.
 */
export function identityFrom(
  node: NodeId,
  answer: Uint8Array,
  secret: Uint8Array,
  door: Door | null,
): Identity {
  const parsed = Admission.safeParse(parseJson(answer));
  if (!parsed.success) {
    throw new OrchError(
      fault("invalid", "the cluster speaks another version", "Install the same orch everywhere."),
    );
  }
  const { clusterId, raftId, peers } = parsed.data;
  return {
    clusterId,
    node,
    raftId,
    peers: peers.map((peer) => ({ ...peer, id: nodeId(peer.id) })),
    joinSecret: Buffer.from(secret).toString("base64url"),
    // An address that is no name is in the member's record as long as it is true.
    ...(door?.address.startsWith("/dns") === true ? { door } : {}),
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    return null;
  }
}
