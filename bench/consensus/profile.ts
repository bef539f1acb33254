import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/**
 * What a CPU profile of `--profile` says: time per layer, and the functions with the most of it, by themselves and
 * with all that they call.
 *
 *     node bench/consensus/profile.ts <file.cpuprofile> ... [rows]
 */

const Profile = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
      children: z.array(z.number()).optional(),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});

/** The first that fits; what fits none (Node's own code) belongs to whoever called it. */
const LAYERS: readonly (readonly [RegExp, string])[] = [
  [/^\(idle\)/, "idle"],
  [/^\(garbage/, "garbage collector"],
  [/^\(program\)/, "native code outside of any function"],
  [/node:inspector/, "the profiler itself"],
  [/ bench\//, "the bench's own door"],
  [/gossipsub| node\/libp2p\/gossip|digest\.ts/, "gossip"],
  [/libp2p-noise|@noble|libp2p\/crypto/, "noise"],
  [/yamux/, "yamux"],
  [/libp2p\/tcp|\/it-|uint8|protons|multiformats|node_modules\/@?libp2p|@chainsafe/, "libp2p, tcp"],
  [/ node\/libp2p\//, "frames and sessions"],
  [/ node\/wire|zod/, "messages: encode, decode, check"],
  [/ node\/disk/, "disk"],
  [/ node\/usage/, "usage"],
  [/ consensus\//, "raft"],
  [/rolling-hash|digestOf/, "hash"],
  [/(en|de)codeEnvelope|envelope-outline/, "envelope"],
  [/ state\//, "apply"],
  [/ scheduler\//, "scheduler"],
  [/core\/replica/, "replica"],
  [/core\/(views|job-view)/, "views"],
  [/ node\/(core\/|node\.ts)/, "node core"],
  [/ node\/driver/, "driver"],
];

const ROOT = join(import.meta.dirname, "../../");

const last = process.argv.at(-1) ?? "";
const rows = /^\d+$/.test(last) ? Number(last) : 15;
for (const file of process.argv.slice(2).filter((word) => !/^\d+$/.test(word))) show(file);

function show(file: string): void {
  const { nodes, samples, timeDeltas } = Profile.parse(JSON.parse(readFileSync(file, "utf8")));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(
    nodes.flatMap(({ id, children }) => (children ?? []).map((child) => [child, id] as const)),
  );
  const self = new Map<number, number>();
  let total = 0;
  samples.forEach((id, i) => {
    const micros = Math.max(0, timeDeltas[i] ?? 0);
    total += micros;
    self.set(id, (self.get(id) ?? 0) + micros);
  });
  const layers = new Map<string, number>();
  const own = new Map<string, number>();
  const inclusive = new Map<string, number>();
  for (const [id, micros] of self) {
    const path: { id: number; name: string }[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = byId.get(at)?.callFrame;
      if (frame !== undefined) path.push({ id: at, name: nameOf(frame) });
    }
    add(own, path[0]?.name ?? "?", micros);
    for (const name of new Set(path.map((each) => each.name))) add(inclusive, name, micros);
    add(layers, layerOf(path.map(({ name }) => name)), micros);
  }
  const busy = total - (layers.get("idle") ?? 0);
  say(`\n${file}: ${(total / 1e6).toFixed(1)} s, of which ${(busy / 1e6).toFixed(1)} s busy`);
  say("  share of the busy time by layer");
  table(layers, busy, 30, /^idle/);
  say("  functions by their own time");
  table(own, busy, rows, /^\(idle/);
  say("  functions with what they call");
  table(inclusive, busy, rows * 3, /^\((idle|root|program|garbage)/);
}

function nameOf(frame: { functionName: string; url: string; lineNumber: number }): string {
  const place = frame.url.replace(/^file:\/\//, "").replace(/^.*\/node_modules\//, "node_modules/");
  const short = place.startsWith(ROOT) ? place.slice(ROOT.length) : place;
  const name = frame.functionName === "" ? "(anonymous)" : frame.functionName;
  return short === "" ? name : `${name} ${short}:${frame.lineNumber + 1}`;
}

function layerOf(path: readonly string[]): string {
  for (const name of path) {
    const found = LAYERS.find(([pattern]) => pattern.test(name));
    if (found !== undefined) return found[1];
  }
  return "Node itself";
}

function add(to: Map<string, number>, name: string, micros: number): void {
  to.set(name, (to.get(name) ?? 0) + micros);
}

function table(of: ReadonlyMap<string, number>, whole: number, count: number, not: RegExp): void {
  const sorted = [...of].filter(([name]) => !not.test(name)).toSorted((a, b) => b[1] - a[1]);
  for (const [name, micros] of sorted.slice(0, count))
    say(`    ${((100 * micros) / whole).toFixed(1).padStart(5)} %  ${name}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
