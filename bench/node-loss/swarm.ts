import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { present } from "../../lib/assert.ts";
import type { Namespaces } from "../../test/chaos/namespaces.ts";
import { until } from "../../test/fixtures/node-process.ts";
import { onDisk } from "../consensus/processes.ts";
import { firstAccepted } from "./accepted.ts";
import { type Contender, type Fault, type Member, REPLICAS, type Round } from "./contender.ts";
import type { SwarmService, SwarmTask } from "./swarm-api.ts";
import { SwarmEngine } from "./swarm-engine.ts";
import { replacedIn } from "./swarm-watch.ts";

const IMAGE = "orch-bench";
const DOCKERD = "/usr/sbin/dockerd";
/** The Debian package busybox-static has it, and it needs nothing else in its image. */
const BUSYBOX = "/bin/busybox";
const WHOLE_MS = 180_000;

/** Null: all that it takes is there. */
export function whyNoSwarm(): string | null {
  const missing = [DOCKERD, BUSYBOX].filter((path) => !existsSync(path));
  return missing.length === 0 ? null : `no ${missing.join(", no ")}`;
}

/** As many dockerd, all of them managers with Docker's own defaults, each in a network namespace. */
export class SwarmContender implements Contender {
  readonly name = "Swarm";
  readonly #namespaces: Namespaces;
  readonly #folder: string;
  readonly #engines: readonly SwarmEngine[];
  readonly #losses: Map<Member, number> = new Map();
  #rounds = 0;

  static async start(
    namespaces: Namespaces,
    nodes: number,
    parent: string | null,
  ): Promise<SwarmContender> {
    const made = new SwarmContender(namespaces, nodes, parent);
    await made.#form();
    return made;
  }

  private constructor(namespaces: Namespaces, nodes: number, parent: string | null) {
    this.#namespaces = namespaces;
    this.#folder = mkdtempSync(join(parent ?? onDisk(), "bench-swarm-"));
    this.#engines = namespaces.places
      .slice(0, nodes)
      .map((place, at) => new SwarmEngine(`e${at + 1}`, this.#folder, place));
    process.on("exit", () => this.end());
  }

  async version(): Promise<string> {
    return `${this.#engines.length} × dockerd ${await this.#any.api.version()}`;
  }

  async #form(): Promise<void> {
    for (const engine of this.#engines) engine.start();
    const tar = this.#image();
    for (const { api } of await this.#allReady()) await api.importImage(IMAGE, tar);
    const [founder, ...others] = this.#engines;
    const { api, host } = present(founder, "a swarm has an engine");
    await api.init(host);
    const token = await api.managerToken();
    for (const engine of others) await engine.api.join(engine.host, host, token);
    for (const engine of this.#engines) await engine.joined();
    await this.#whole();
  }

  async round(): Promise<Round> {
    await this.#whole();
    this.#rounds += 1;
    const service = await this.#submit(`loss${this.#rounds}`);
    const leader = await this.#whole();
    const tasks = await this.#any.api.tasks();
    const before = new Set(tasks.map(({ ID }) => ID));
    const slotsOf = ({ id }: SwarmEngine): number[] =>
      tasks.flatMap(({ NodeID, Slot }) => (NodeID === id && Slot !== undefined ? [Slot] : []));
    const others = this.#engines
      .filter((engine) => engine !== leader && slotsOf(engine).length > 0)
      .toSorted((a, b) => (this.#losses.get(a) ?? 0) - (this.#losses.get(b) ?? 0));
    const left = (lost: readonly Member[]): SwarmEngine[] =>
      this.#engines.filter((engine) => !lost.includes(engine));
    return {
      manager: leader,
      others,
      manages: async (member) => {
        const { id, api } = this.#engineOf(member);
        const nodes = await api.nodes().catch(() => []);
        return nodes.some(({ ID, ManagerStatus }) => ID === id && ManagerStatus?.Leader === true);
      },
      harm: (fault, member) => this.#harm(fault, this.#engineOf(member)),
      replaced: (member, sinceMs, lost) => {
        const engine = this.#engineOf(member);
        const { id, name } = engine;
        const gone = new Set(lost.map((each) => this.#engineOf(each).id));
        const watched = { id, name, slots: slotsOf(engine), before };
        return replacedIn(left(lost), watched, sinceMs, gone);
      },
      accepted: (sinceMs, lost) => {
        let tries = 0;
        const writers = left(lost).map(({ api }) => () => {
          tries += 1;
          return api.relabel(service, String(tries));
        });
        return firstAccepted(writers, sinceMs);
      },
      end: async (fault, lost) => {
        for (const member of lost) await this.#undo(fault, this.#engineOf(member));
        await this.#whole();
        await this.#any.api.removeService(service.ID);
      },
    };
  }

  end(): void {
    for (const engine of this.#engines) {
      engine.kill();
      engine.api.end();
    }
    const bounds = { force: true, maxRetries: 20, retryDelay: 50 };
    rmSync(this.#folder, { recursive: true, ...bounds });
  }

  get #any(): SwarmEngine {
    return present(this.#engines[0], "a swarm has an engine");
  }

  #engineOf(member: Member): SwarmEngine {
    const found = this.#engines.find((engine) => engine === member);
    return present(found, `${member.name} is an engine of the swarm`);
  }

  async #allReady(): Promise<readonly SwarmEngine[]> {
    await Promise.all(this.#engines.map((engine) => engine.ready()));
    return this.#engines;
  }

  /** A root folder with one program, as a tar archive. */
  #image(): Buffer {
    const root = join(this.#folder, "image");
    mkdirSync(join(root, "bin"), { recursive: true });
    copyFileSync(BUSYBOX, join(root, "bin/busybox"));
    symlinkSync("busybox", join(root, "bin/sleep"));
    return execFileSync("tar", ["-c", "-C", root, "."], { maxBuffer: 64 << 20 });
  }

  /** All are ready and reach each other, no task is left of an earlier round; returns who leads. */
  async #whole(): Promise<SwarmEngine> {
    let last = "";
    return until(
      () => `the swarm is not whole: ${last}`,
      async () => {
        try {
          const views = await Promise.all(this.#engines.map(({ api }) => api.nodes()));
          last = JSON.stringify(
            views[0]?.map(({ Status, ManagerStatus }) => [Status, ManagerStatus]),
          );
          const isWhole = views.every(
            (nodes) =>
              nodes.length === this.#engines.length &&
              nodes.every(
                ({ Status, ManagerStatus }) =>
                  Status.State === "ready" && ManagerStatus?.Reachability === "reachable",
              ),
          );
          if (!isWhole || !(await this.#isTidy())) return null;
          const id = views[0]?.find(({ ManagerStatus }) => ManagerStatus?.Leader === true)?.ID;
          return this.#engines.find((engine) => engine.id === id) ?? null;
        } catch (error) {
          last = String(error);
          return null;
        }
      },
      WHOLE_MS,
      200,
    );
  }

  /** No engine runs what a service that was removed, or another node, has. */
  async #isTidy(): Promise<boolean> {
    const [services, tasks] = [await this.#any.api.services(), await this.#any.api.tasks()];
    return tasks.filter(isRunning).length === services.length * REPLICAS;
  }

  async #submit(name: string): Promise<SwarmService> {
    const { api } = this.#any;
    const id = await api.createService({
      Name: name,
      TaskTemplate: {
        ContainerSpec: { Image: `${IMAGE}:1`, Command: ["sleep", "600"], StopGracePeriod: 1e9 },
        Resources: { Reservations: { NanoCPUs: 1e7, MemoryBytes: 8 << 20 } },
        Networks: [{ Target: "host" }],
      },
      Mode: { Replicated: { Replicas: REPLICAS } },
    });
    await until(
      () => `${name} does not run`,
      async () => ((await api.tasks()).filter(isRunning).length === REPLICAS ? true : null),
      WHOLE_MS,
      200,
    );
    return api.service(id);
  }

  #harm(fault: Fault, engine: SwarmEngine): number {
    this.#losses.set(engine, (this.#losses.get(engine) ?? 0) + 1);
    const sinceMs = performance.now();
    if (fault === "silent cut" || fault === "power loss")
      this.#namespaces.cut(engine.namespace, "isolated", "");
    if (fault === "SIGSTOP") engine.signal("SIGSTOP");
    if (fault === "kill -9" || fault === "power loss") engine.kill();
    return sinceMs;
  }

  async #undo(fault: Fault, engine: SwarmEngine): Promise<void> {
    if (fault === "silent cut" || fault === "power loss") this.#namespaces.heal(engine.namespace);
    if (fault === "SIGSTOP") engine.signal("SIGCONT");
    if (fault !== "kill -9" && fault !== "power loss") return;
    await engine.gone();
    engine.start();
    await engine.ready();
  }
}

function isRunning({ Status }: SwarmTask): boolean {
  return Status.State === "running";
}
