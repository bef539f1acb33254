import { fault, OrchError } from "../lib/errors.ts";
import type { Submission } from "./submission.ts";
import { jobNameOf } from "./submission.ts";

/** The flags of `orch run --image`, as the user wrote them: the node that reads the file checks them. */
export interface ImageJob {
  readonly image: string;
  readonly name: string | null;
  readonly replicas: string | null;
  readonly publish: readonly string[];
  readonly env: readonly string[];
  readonly cpus: string | null;
  readonly memory: string | null;
  readonly constraints: readonly string[];
  /** Empty: the image's own. */
  readonly command: readonly string[];
}

/** One service in a Compose file (JSON is YAML), named like the job: the same path as every other file. */
export function imageSubmission(job: ImageJob): Submission {
  const name = job.name ?? jobNameOf(imageName(job.image));
  const resources = {
    ...(job.cpus === null ? {} : { cpus: job.cpus }),
    ...(job.memory === null ? {} : { memory: job.memory }),
  };
  const limited = Object.keys(resources).length > 0;
  const deploy = {
    ...(job.replicas === null ? {} : { replicas: replicaCount(job.replicas) }),
    ...(limited ? { resources: { limits: resources, reservations: resources } } : {}),
    ...(job.constraints.length === 0 ? {} : { placement: { constraints: job.constraints } }),
  };
  const service = {
    image: job.image,
    ...(job.command.length === 0 ? {} : { command: job.command }),
    ...(job.publish.length === 0 ? {} : { ports: job.publish }),
    ...(job.env.length === 0 ? {} : { environment: job.env.map(withValue) }),
    ...(Object.keys(deploy).length === 0 ? {} : { deploy }),
  };
  // Compose would read a dollar sign as a variable; the shell has done that already.
  const compose = JSON.stringify({ name, services: { [name]: service } }, null, 2).replaceAll(
    "$",
    "$$$$",
  );
  return { compose, file: "orch run", defaultName: name, environment: {} };
}

/** The last part of an image's name, without tag and digest: `registry:5000/team/web:1` is `web`. */
function imageName(image: string): string {
  const last = image.slice(image.lastIndexOf("/") + 1);
  return last.replace(/[:@].*$/, "");
}

function replicaCount(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new OrchError(
    fault("usage", `--replicas "${text}" is no count`, "Write a whole number, as 3."),
  );
}

/** `KEY` alone takes the value from this environment, as in docker. */
function withValue(variable: string): string {
  if (variable.includes("=")) return variable;
  return `${variable}=${process.env[variable] ?? ""}`;
}
