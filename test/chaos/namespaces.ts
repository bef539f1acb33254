import { execFileSync } from "node:child_process";
import { present } from "../../lib/assert.ts";
import type { Place } from "../fixtures/process-cluster.ts";
import type { Cut } from "./plan.ts";

/** What the line of a node is called inside its namespace. */
const DEV = "eth0";
const HOSTS = 250;

/** A namespace that was made here. */
interface OwnPlace extends Place {
  readonly namespace: string;
}

interface Line {
  readonly outer: string;
  host: string;
}

/**
 * A network namespace for each node, all on one bridge, so that the network between them can be harmed and
 * nothing else: needs root, `ip` and `iptables`; delays also need the kernel's netem.
 */
export class Namespaces {
  /** The first ones, one for each node that the cluster starts with. */
  readonly places: readonly OwnPlace[];
  readonly #tag: string;
  readonly #net: string;
  readonly #lines: Map<string, Line> = new Map();
  #hosts = 0;
  #made = 0;
  readonly #hasNetem: boolean;

  constructor(count: number) {
    this.#tag = `oc${process.pid}`;
    this.#net = `10.213.${process.pid % 250}`;
    process.on("exit", () => this.#removeAll());
    run("ip", "link", "add", `${this.#tag}b`, "type", "bridge");
    run("ip", "link", "set", `${this.#tag}b`, "up");
    this.places = Array.from({ length: count }, () => this.add());
    this.#hasNetem = this.#tryNetem();
  }

  /** One more, with an address of its own. */
  add(): OwnPlace {
    this.#made += 1;
    const namespace = `${this.#tag}n${this.#made}`;
    const outer = `${this.#tag}o${this.#made}`;
    const inner = `${this.#tag}i${this.#made}`;
    const host = this.#freeHost();
    this.#lines.set(namespace, { outer, host });
    run("ip", "netns", "add", namespace);
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner);
    run("ip", "link", "set", inner, "netns", namespace);
    run("ip", "link", "set", outer, "master", `${this.#tag}b`, "up");
    within(namespace, "ip", "link", "set", inner, "name", DEV);
    within(namespace, "ip", "addr", "add", `${host}/24`, "dev", DEV);
    within(namespace, "ip", "link", "set", "lo", "up");
    within(namespace, "ip", "link", "set", DEV, "up");
    return { host, namespace };
  }

  /** Gives it another address and takes the one before away; the new one. */
  move(namespace: string): string {
    const line = present(this.#lines.get(namespace), "it was made");
    const host = this.#freeHost();
    within(namespace, "ip", "addr", "del", `${line.host}/24`, "dev", DEV);
    within(namespace, "ip", "addr", "add", `${host}/24`, "dev", DEV);
    line.host = host;
    return host;
  }

  remove(namespace: string): void {
    const line = this.#lines.get(namespace);
    if (line === undefined) return;
    attempt("ip", "link", "del", line.outer);
    attempt("ip", "netns", "del", namespace);
    this.#lines.delete(namespace);
  }

  /** "mute": nobody hears it; "deaf": it hears nobody; "from-one": it and one peer do not hear each other. */
  cut(namespace: string, cut: Cut, peer: string): void {
    const drop = (chain: "INPUT" | "OUTPUT", ...match: readonly string[]): void => {
      const way = chain === "INPUT" ? "-i" : "-o";
      within(namespace, "iptables", "-w", "-A", chain, way, DEV, ...match, "-j", "DROP");
    };
    const one = cut === "from-one" ? (this.#lines.get(peer)?.host ?? "") : null;
    if (cut !== "mute") drop("INPUT", ...(one === null ? [] : ["-s", one]));
    if (cut !== "deaf") drop("OUTPUT", ...(one === null ? [] : ["-d", one]));
  }

  /** A bad line: every twentieth packet is lost, and where the kernel can, all come late. */
  disturb(namespace: string): void {
    if (this.#hasNetem) {
      const discipline = ["netem", "delay", "40ms", "20ms", "loss", "5%"];
      within(namespace, "tc", "qdisc", "replace", "dev", DEV, "root", ...discipline);
      return;
    }
    const match = ["-m", "statistic", "--mode", "random", "--probability", "0.05"];
    within(namespace, "iptables", "-w", "-A", "INPUT", "-i", DEV, ...match, "-j", "DROP");
    within(namespace, "iptables", "-w", "-A", "OUTPUT", "-o", DEV, ...match, "-j", "DROP");
  }

  heal(namespace: string): void {
    within(namespace, "iptables", "-w", "-F");
    if (this.#hasNetem) attempt("nsenter", ...enter(namespace), "tc", ...netem("del"));
  }

  #freeHost(): string {
    const taken = new Set([...this.#lines.values()].map(({ host }) => host));
    for (;;) {
      this.#hosts = (this.#hosts % HOSTS) + 1;
      const host = `${this.#net}.${this.#hosts}`;
      if (!taken.has(host)) return host;
    }
  }

  #tryNetem(): boolean {
    const namespace = this.places[0]?.namespace ?? "";
    const works = attempt("nsenter", ...enter(namespace), "tc", ...netem("add"), "netem");
    if (works) attempt("nsenter", ...enter(namespace), "tc", ...netem("del"));
    return works;
  }

  #removeAll(): void {
    for (const namespace of this.#lines.keys()) this.remove(namespace);
    attempt("ip", "link", "del", `${this.#tag}b`);
  }
}

function netem(verb: string): string[] {
  return ["qdisc", verb, "dev", DEV, "root"];
}

function within(namespace: string, program: string, ...words: readonly string[]): void {
  run("nsenter", ...enter(namespace), program, ...words);
}

function enter(namespace: string): string[] {
  return [`--net=/run/netns/${namespace}`];
}

/** Runs a program of the system to its end; throws with what it said when that is not success. */
export function run(program: string, ...words: readonly string[]): void {
  execFileSync(program, words, { stdio: ["ignore", "ignore", "pipe"], timeout: 10_000 });
}

/** Whether that program could do it. */
export function attempt(program: string, ...words: readonly string[]): boolean {
  try {
    run(program, ...words);
    return true;
  } catch {
    return false;
  }
}
