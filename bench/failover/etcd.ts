import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Pool } from "undici";
import { z } from "zod";
import { until } from "../../test/fixtures/node-process.ts";
import { freePort, onDisk } from "../consensus/processes.ts";
import { ETCD, etcdWords } from "../consensus/systems.ts";
import type { Contender, Member } from "./probe.ts";

const NODES = 3;
const WHOLE_MS = 60_000;
/** A follower without a leader keeps a write until etcd's own 7 s are over: others must have room meanwhile. */
const WRITE_MS = 500;
const BEHIND_ENTRIES = 5;

const Status = z.object({
  header: z.object({ member_id: z.string(), raft_term: z.string() }),
  leader: z.string().optional(),
  raftAppliedIndex: z.string().optional(),
});

/** Three etcd with their own defaults, over their JSON gateway. */
export class EtcdContender implements Contender {
  readonly name = "etcd";
  readonly #folder: string;
  readonly #members: readonly EtcdMember[];

  static async start(parent: string | null): Promise<EtcdContender> {
    const folder = mkdtempSync(join(parent ?? onDisk(), "bench-etcd-"));
    const ports: [number, number][] = [];
    for (let i = 0; i < NODES; i++) ports.push([await freePort(), await freePort()]);
    const cluster = ports.map(([, peer], i) => `e${i + 1}=http://127.0.0.1:${peer}`).join(",");
    const members = ports.map(([client, peer], i) => {
      const name = `e${i + 1}`;
      const dataDir = join(folder, name);
      mkdirSync(dataDir, { mode: 0o700 });
      const words = etcdWords(name, dataDir, client, peer, cluster);
      return new EtcdMember(name, folder, words, client);
    });
    const made = new EtcdContender(folder, members);
    for (const member of members) member.start();
    return made;
  }

  private constructor(folder: string, members: readonly EtcdMember[]) {
    this.#folder = folder;
    this.#members = members;
    process.on("exit", () => this.end());
  }

  async whole(): Promise<{ leader: Member; others: Member[] }> {
    const id = await until(
      () => "three etcd and a leader",
      async () => {
        const all = await Promise.all(this.#members.map((member) => member.status()));
        const known = all.filter((status) => status !== null);
        const leaders = new Set(known.map(({ leader }) => leader));
        const applied = known.map(({ raftAppliedIndex }) => Number(raftAppliedIndex ?? 0));
        const behind = Math.max(...applied) - Math.min(...applied);
        const [leader] = leaders;
        const isWhole = known.length === NODES && leaders.size === 1 && behind <= BEHIND_ENTRIES;
        return isWhole && leader !== undefined && leader !== "0"
          ? (this.#members[all.findIndex((status) => status?.header.member_id === leader)] ?? null)
          : null;
      },
      WHOLE_MS,
      50,
    );
    return { leader: id, others: this.#members.filter((member) => member !== id) };
  }

  async kill(member: Member): Promise<void> {
    const found = this.#find(member);
    found.signal("SIGKILL");
    await until(
      () => `${member.name} does not die`,
      () => (found.isRunning ? null : true),
      WHOLE_MS,
      1,
    );
  }

  restart(member: Member): void {
    this.#find(member).start();
  }

  pause(member: Member): void {
    this.#find(member).signal("SIGSTOP");
  }

  resume(member: Member): void {
    this.#find(member).signal("SIGCONT");
  }

  end(): void {
    for (const member of this.#members) member.signal("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  #find(member: Member): EtcdMember {
    const found = this.#members.find((each) => each === member);
    if (found === undefined) throw new Error(`${member.name} is one of the three`);
    return found;
  }
}

class EtcdMember implements Member {
  readonly name: string;
  readonly #folder: string;
  readonly #words: readonly string[];
  readonly #pool: Pool;
  #child: ChildProcess | null = null;
  #writes = 0;

  constructor(name: string, folder: string, words: readonly string[], port: number) {
    this.name = name;
    this.#folder = folder;
    this.#words = words;
    this.#pool = new Pool(`http://127.0.0.1:${port}`, { connections: 256 });
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  start(): void {
    const log = openSync(join(this.#folder, `${this.name}.log`), "a");
    const words = ["--pdeathsig", "KILL", "--", ETCD, ...this.#words];
    this.#child = spawn("/usr/bin/setpriv", words, {
      stdio: ["ignore", log, log],
      detached: true,
    });
    closeSync(log);
    this.#child.on("error", () => undefined);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child?.kill(signal);
  }

  async status(): Promise<z.infer<typeof Status> | null> {
    const text = await this.#post("/v3/maintenance/status", "{}", 1_000);
    const parsed = text === null ? null : Status.safeParse(JSON.parse(text));
    return parsed?.success === true ? parsed.data : null;
  }

  async write(): Promise<boolean> {
    this.#writes += 1;
    const key = Buffer.from(`k${this.#writes % 100}`).toString("base64");
    const value = Buffer.from("x".repeat(256)).toString("base64");
    return (await this.#post("/v3/kv/put", JSON.stringify({ key, value }), WRITE_MS)) !== null;
  }

  async state(): Promise<string> {
    const status = await this.status();
    return status === null
      ? "no answer"
      : `term ${status.header.raft_term} leader ${status.leader}`;
  }

  /** Null: it was refused, or not answered in time. */
  async #post(path: string, body: string, timeoutMs: number): Promise<string | null> {
    try {
      const signal = AbortSignal.timeout(timeoutMs);
      const response = await this.#pool.request({ method: "POST", path, body, signal });
      const text = await response.body.text();
      return response.statusCode === 200 ? text : null;
    } catch {
      return null;
    }
  }
}
