import { Client, request } from "undici";
import type { Dispatcher } from "undici";
import { parse } from "yaml";
import { codeOf, isRecord, messageOf } from "./boundary.ts";

export interface DriverChoice {
  readonly driver: "docker" | "process";
  /** Why, in a few words. */
  readonly reason: string;
}

const PING_MS = 2_000;

/** What runs the tasks of a dev cluster: docker if an engine answers, unless all that is to run is processes. */
export async function chooseDriver(compose: string | null): Promise<DriverChoice> {
  const wanted = compose === null ? "unknown" : wants(compose);
  if (wanted === "process") return { driver: "process", reason: "the file names no image" };
  const reason = await enginePing();
  if (reason === null) return { driver: "docker", reason: "its engine answers" };
  return { driver: "process", reason: `no docker engine answers: ${reason}` };
}

/** Whether a Compose file has services with an image. What cannot be read here the node refuses with its reason. */
export function wants(compose: string): "docker" | "process" | "unknown" {
  let file: unknown;
  try {
    file = parse(compose, { merge: true });
  } catch {
    return "unknown";
  }
  if (!isRecord(file) || !isRecord(file["services"])) return "unknown";
  const services = Object.values(file["services"]).filter(isRecord);
  if (services.length === 0) return "unknown";
  return services.some((service) => "image" in service) ? "docker" : "process";
}

/** Null when an engine answers, else why none does. */
async function enginePing(): Promise<string | null> {
  const host = process.env["DOCKER_HOST"] ?? "unix:///var/run/docker.sock";
  try {
    const response = await ping(host);
    await response.body.dump();
    return response.statusCode === 200 ? null : `${host} answered ${response.statusCode}`;
  } catch (error) {
    return `${host}: ${codeOf(error) ?? messageOf(error)}`;
  }
}

async function ping(host: string): Promise<Dispatcher.ResponseData> {
  const signal = AbortSignal.timeout(PING_MS);
  if (!host.startsWith("unix://")) {
    return request(`${host.replace(/^tcp:/, "http:")}/_ping`, { signal });
  }
  const client = new Client("http://localhost", {
    connect: { socketPath: host.slice("unix://".length) },
  });
  try {
    return await client.request({ method: "GET", path: "/_ping", signal });
  } finally {
    client.close(() => undefined);
  }
}
