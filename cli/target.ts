import { fault, OrchError } from "../lib/errors.ts";

/** What a user may name after `stop` or `logs`. */
export type Target =
  /** One part: a job or a task id; only the cluster can tell which. */
  | { readonly kind: "job-or-task"; readonly name: string }
  | { readonly kind: "service"; readonly job: string; readonly service: string }
  /** `slot` is the whole name, `<job>.<service>.<n>`. */
  | {
      readonly kind: "slot";
      readonly job: string;
      readonly service: string;
      readonly slot: string;
    };

const PART = /^[A-Za-z0-9][A-Za-z0-9_-]*$/;

/** Reads `JOB`, `JOB.SERVICE`, `JOB.SERVICE.N` or a task id. Throws OrchError `usage` for anything else. */
export function parseTarget(text: string): Target {
  const parts = text.split(".");
  const [job = "", service = "", slot] = parts;
  if (parts.length > 3 || !parts.every((part) => PART.test(part))) {
    throw new OrchError(
      fault(
        "usage",
        `"${text}" names nothing that can run`,
        "Name a job (hello), a service (hello.web), a slot (hello.web.1) or a task id from `orch ps`.",
      ),
    );
  }
  if (parts.length === 1) return { kind: "job-or-task", name: job };
  if (slot === undefined) return { kind: "service", job, service };
  return { kind: "slot", job, service, slot: text };
}

/** Whether a one-part name has the shape of a task id (`k3f-1`); a job may be named so, too. */
export function looksLikeTaskId(name: string): boolean {
  return /^[0-9a-z]+-\d+$/.test(name);
}
