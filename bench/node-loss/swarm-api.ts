import { Pool } from "undici";
import { z } from "zod";

const Info = z.object({ Swarm: z.object({ NodeID: z.string() }) });
const Tokens = z.object({ JoinTokens: z.object({ Manager: z.string() }) });
const Nodes = z.array(
  z.object({
    ID: z.string(),
    Status: z.object({ State: z.string() }),
    ManagerStatus: z
      .object({ Leader: z.boolean().optional(), Reachability: z.string() })
      .optional(),
  }),
);
const Tasks = z.array(
  z.object({
    ID: z.string(),
    Slot: z.number().optional(),
    NodeID: z.string().optional(),
    Status: z.object({ State: z.string() }),
  }),
);
const Service = z.object({
  ID: z.string(),
  Version: z.object({ Index: z.number() }),
  Spec: z.looseObject({ Name: z.string() }),
});
const Services = z.array(Service);
const Version = z.object({ ApiVersion: z.string(), Version: z.string() });

export type SwarmNode = z.infer<typeof Nodes>[number];
export type SwarmTask = z.infer<typeof Tasks>[number];
export type SwarmService = z.infer<typeof Service>;

/** Two updates of one version: the first was taken, whoever asked for it. */
const OVERTAKEN = /update out of sequence/;
const ASK_MS = 5_000;
const SLOW_MS = 60_000;

/** What the benchmark needs of the Engine API of one engine, over its unix socket. All throw what the engine refuses. */
export class SwarmApi {
  readonly #pool: Pool;

  constructor(socketPath: string) {
    this.#pool = new Pool("http://localhost", { connect: { socketPath }, connections: 128 });
  }

  async version(): Promise<string> {
    return Version.parse(await this.#get("/version")).Version;
  }

  async nodeId(): Promise<string> {
    return Info.parse(await this.#get("/info")).Swarm.NodeID;
  }

  async nodes(): Promise<SwarmNode[]> {
    return Nodes.parse(await this.#get("/nodes"));
  }

  async tasks(): Promise<SwarmTask[]> {
    return Tasks.parse(await this.#get("/tasks"));
  }

  async service(id: string): Promise<SwarmService> {
    return Service.parse(await this.#get(`/services/${id}`));
  }

  async services(): Promise<SwarmService[]> {
    return Services.parse(await this.#get("/services"));
  }

  async managerToken(): Promise<string> {
    return Tokens.parse(await this.#get("/swarm")).JoinTokens.Manager;
  }

  async importImage(name: string, tar: Buffer): Promise<void> {
    await this.#ask("POST", `/images/create?fromSrc=-&repo=${name}&tag=1`, tar, SLOW_MS);
  }

  async init(host: string): Promise<void> {
    const body = { AdvertiseAddr: host, ListenAddr: `${host}:2377` };
    await this.#post("/swarm/init", body, SLOW_MS);
  }

  async join(host: string, remote: string, token: string): Promise<void> {
    const body = {
      AdvertiseAddr: host,
      ListenAddr: `${host}:2377`,
      RemoteAddrs: [`${remote}:2377`],
      JoinToken: token,
    };
    await this.#post("/swarm/join", body, SLOW_MS);
  }

  /** Returns the service's id. */
  async createService(spec: object): Promise<string> {
    const made: unknown = await this.#post("/services/create", spec, SLOW_MS);
    return z.object({ ID: z.string() }).parse(made).ID;
  }

  async removeService(id: string): Promise<void> {
    await this.#ask("DELETE", `/services/${id}`, null, SLOW_MS);
  }

  /** Whether it took a change of nothing but a label. Does not throw. */
  async relabel({ ID, Version: { Index }, Spec }: SwarmService, label: string): Promise<boolean> {
    try {
      const spec = { ...Spec, Labels: { label } };
      await this.#post(`/services/${ID}/update?version=${Index}`, spec, ASK_MS);
      return true;
    } catch (error) {
      return error instanceof Error && OVERTAKEN.test(error.message);
    }
  }

  end(): void {
    void this.#pool.destroy();
  }

  async #get(path: string): Promise<unknown> {
    return JSON.parse(await this.#ask("GET", path, null, ASK_MS));
  }

  async #post(path: string, body: object, timeoutMs: number): Promise<unknown> {
    const text = await this.#ask("POST", path, JSON.stringify(body), timeoutMs);
    return text === "" ? null : JSON.parse(text);
  }

  async #ask(
    method: "GET" | "POST" | "DELETE",
    path: string,
    body: string | Buffer | null,
    timeoutMs: number,
  ): Promise<string> {
    const type = typeof body === "string" ? "application/json" : "application/x-tar";
    const response = await this.#pool.request({
      method,
      path: `/v1.40${path}`,
      headers: body === null ? {} : { "content-type": type },
      body,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const text = await response.body.text();
    if (response.statusCode < 300) return text;
    throw new Error(`${method} ${path}: ${response.statusCode} ${text}`);
  }
}
