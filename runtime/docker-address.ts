import { join } from "node:path";
import { fault, OrchError } from "../lib/errors.ts";

/** Where engines listen: apart from their client, which a machine without an engine need not load. */

/** Where an engine listens. */
export type EngineAddress =
  | { readonly kind: "socket"; readonly path: string }
  /** `certFolder` holds ca.pem, cert.pem and key.pem; null: no TLS. */
  | {
      readonly kind: "tcp";
      readonly host: string;
      readonly port: number;
      readonly certFolder: string | null;
    };

/**
 * Where an engine may listen on this machine, likeliest first: DOCKER_HOST alone when it is set (as the
 * docker command does), otherwise the sockets of Docker, rootless Docker, Docker Desktop and Podman.
 * Throws OrchError engine-refused for a DOCKER_HOST that cannot be used.
 */
export function engineAddresses(
  env: Readonly<Record<string, string | undefined>>,
): EngineAddress[] {
  const { DOCKER_HOST: host, HOME: home, XDG_RUNTIME_DIR: runtime } = env;
  if (host !== undefined && host !== "") return [parseHost(host, env)];
  const paths = ["/var/run/docker.sock"];
  if (runtime !== undefined) paths.push(join(runtime, "docker.sock"));
  if (home !== undefined) paths.push(join(home, ".docker/run/docker.sock"));
  paths.push("/run/podman/podman.sock");
  if (runtime !== undefined) paths.push(join(runtime, "podman/podman.sock"));
  return paths.map((path) => ({ kind: "socket", path }));
}

export function nameOf(address: EngineAddress): string {
  return address.kind === "socket" ? address.path : `${address.host}:${address.port}`;
}

function parseHost(host: string, env: Readonly<Record<string, string | undefined>>): EngineAddress {
  if (host.startsWith("unix://")) return { kind: "socket", path: host.slice("unix://".length) };
  const match = /^(?:tcp|https?):\/\/(?<name>[^/:]+|\[[^\]]+\])(?::(?<port>\d+))?\/?$/u.exec(host);
  const name = match?.groups?.["name"];
  if (name === undefined) {
    throw new OrchError(
      fault(
        "engine-refused",
        `DOCKER_HOST is "${host}", which orch cannot use.`,
        "Write unix:///path/to/docker.sock or tcp://host:port.",
      ),
    );
  }
  const { DOCKER_TLS_VERIFY: verify, DOCKER_CERT_PATH: certPath, HOME: home } = env;
  const tls = host.startsWith("https:") || (verify !== undefined && verify !== "");
  const certFolder = tls ? (certPath ?? join(home ?? "/", ".docker")) : null;
  return {
    kind: "tcp",
    host: name,
    port: Number(match?.groups?.["port"] ?? (tls ? 2376 : 2375)),
    certFolder,
  };
}
