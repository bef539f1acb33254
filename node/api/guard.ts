import { createHash, timingSafeEqual } from "node:crypto";
import { fault } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";

/** Who may talk to the TCP listener: only this machine, only under a loopback name, only with the token. */

/** Whether a host (an address or name, IPv6 with or without brackets, no port) stands for this machine only. */
export function isLoopbackHost(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  if (bare === "localhost" || bare === "::1") return true;
  return (
    /^127\.(?:\d{1,3}\.){2}\d{1,3}$/.test(bare) &&
    bare.split(".").every((part) => Number(part) <= 255)
  );
}

/** The host in a Host header ("localhost:7401", "[::1]:7401"); null when it is malformed. */
function hostOf(header: string): string | null {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/.exec(header);
  return match?.[1] ?? null;
}

/**
 * Refuses what a browser sends for a page from elsewhere. A page of evil.example can make its own name
 * resolve to 127.0.0.1, but its requests still carry that name as Host, and its origin.
 */
export function checkOrigin(host: string | undefined, origin: string | undefined): Fault | null {
  const named = host === undefined ? null : hostOf(host);
  if (named === null || !isLoopbackHost(named)) {
    return foreign(`The Host header "${shown(host)}" is not a name of this machine's loopback.`);
  }
  if (origin === undefined) return null;
  const from = /^https?:\/\/(.+)$/.exec(origin)?.[1];
  const fromHost = from === undefined ? null : hostOf(from);
  if (fromHost === null || !isLoopbackHost(fromHost)) {
    return foreign(`The page "${shown(origin)}" may not call this API.`);
  }
  return null;
}

function foreign(message: string): Fault {
  return fault(
    "forbidden",
    message,
    "Call it as localhost, 127.0.0.1 or [::1]; from elsewhere through an SSH tunnel to one of them.",
  );
}

function shown(header: string | undefined): string {
  return (header ?? "").slice(0, 100);
}

/**
 * A check of "Bearer <token>" against the right token, in a time that does not depend on either. It
 * gives the fault to answer with, or null when the token is right.
 */
export function tokenCheck(
  token: string,
  tokenFile: string,
  socketPath: string,
): (authorization: string | undefined) => Fault | null {
  const digest = digestOf(token);
  return (authorization) => {
    const sent = /^Bearer +(\S+) *$/i.exec(authorization ?? "")?.[1];
    if (sent !== undefined && timingSafeEqual(digestOf(sent), digest)) return null;
    return fault(
      "unauthorized",
      sent === undefined
        ? "This address of the API needs a token."
        : "The token is not the one of this node.",
      `Send "Authorization: Bearer <token>" with the token in ${tokenFile}, or use the unix socket ${socketPath}, which needs none.`,
      { tokenFile, socketPath },
    );
  };
}

function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
