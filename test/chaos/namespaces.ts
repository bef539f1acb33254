import { execFileSync } from "node:child_process";
import type { Place } from "../fixtures/process-cluster.ts";
import type { Cut } from "./plan.ts";

/**
 * A network namespace for each node, all on one bridge, so that the network between them can be harmed and
 * nothing else: needs root, `ip` and `iptables`; delays also need the kernel's netem.
 */
export class Namespaces {
  readonly places: readonly Place[];
  readonly #tag: string;
  #hasNetem = false;

  constructor(count: number) {
    this.#tag = `oc${process.pid}`;
    process.on("exit", () => this.#remove());
    const net = `10.213.${process.pid % 250}`;
    run("ip", "link", "add", `${this.#tag}b`, "type", "bridge");
    run("ip", "link", "set", `${this.#tag}b`, "up");
    this.places = Array.from({ length: count }, (_, at) => {
      const [namespace, outer, inner] = [
        this.#name(at),
        `${this.#tag}o${at}`,
        `${this.#tag}i${at}`,
      ];
      const host = `${net}.${at + 1}`;
      run("ip", "netns", "add", namespace);
      run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner);
      run("ip", "link", "set", inner, "netns", namespace);
      run("ip", "link", "set", outer, "master", `${this.#tag}b`, "up");
      this.#within(at, "ip", "addr", "add", `${host}/24`, "dev", inner);
      this.#within(at, "ip", "link", "set", "lo", "up");
      this.#within(at, "ip", "link", "set", inner, "up");
      return { host, namespace };
    });
    this.#hasNetem = this.#tryNetem();
  }

  /** "mute": nobody hears it; "deaf": it hears nobody; "from-one": it and one peer do not hear each other. */
  cut(at: number, cut: Cut, peer: number): void {
    const dev = `${this.#tag}i${at}`;
    const drop = (chain: "INPUT" | "OUTPUT", ...match: readonly string[]): void => {
      const way = chain === "INPUT" ? "-i" : "-o";
      this.#within(at, "iptables", "-w", "-A", chain, way, dev, ...match, "-j", "DROP");
    };
    const one = cut === "from-one" ? (this.places[peer]?.host ?? "") : null;
    if (cut !== "mute") drop("INPUT", ...(one === null ? [] : ["-s", one]));
    if (cut !== "deaf") drop("OUTPUT", ...(one === null ? [] : ["-d", one]));
  }

  /** A bad line: every twentieth packet is lost, and where the kernel can, all come late. */
  disturb(at: number): void {
    const dev = `${this.#tag}i${at}`;
    if (this.#hasNetem) {
      const netem = ["netem", "delay", "40ms", "20ms", "loss", "5%"];
      this.#within(at, "tc", "qdisc", "replace", "dev", dev, "root", ...netem);
      return;
    }
    const match = ["-m", "statistic", "--mode", "random", "--probability", "0.05"];
    this.#within(at, "iptables", "-w", "-A", "INPUT", "-i", dev, ...match, "-j", "DROP");
    this.#within(at, "iptables", "-w", "-A", "OUTPUT", "-o", dev, ...match, "-j", "DROP");
  }

  heal(at: number): void {
    this.#within(at, "iptables", "-w", "-F");
    if (this.#hasNetem) attempt("nsenter", ...this.#enter(at), "tc", ...this.#netem(at, "del"));
  }

  #tryNetem(): boolean {
    const works = attempt("nsenter", ...this.#enter(0), "tc", ...this.#netem(0, "add"), "netem");
    if (works) this.heal(0);
    return works;
  }

  #netem(at: number, verb: string): string[] {
    return ["qdisc", verb, "dev", `${this.#tag}i${at}`, "root"];
  }

  #within(at: number, program: string, ...words: readonly string[]): void {
    run("nsenter", ...this.#enter(at), program, ...words);
  }

  #enter(at: number): string[] {
    return [`--net=/run/netns/${this.#name(at)}`];
  }

  #name(at: number): string {
    return `${this.#tag}n${at}`;
  }

  #remove(): void {
    for (const at of this.places.keys()) {
      attempt("ip", "link", "del", `${this.#tag}o${at}`);
      attempt("ip", "netns", "del", this.#name(at));
    }
    attempt("ip", "link", "del", `${this.#tag}b`);
  }
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
