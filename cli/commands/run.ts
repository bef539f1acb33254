import { fault, OrchError } from "../../lib/errors.ts";
import type { JobView } from "../../node/core/view-types.ts";
import { pathOf } from "../client.ts";
import type { Context } from "../context.ts";
import { imageSubmission } from "../image-job.ts";
import { note, paint, print, printJson } from "../output.ts";
import { readSubmission, submit } from "../submission.ts";
import type { Submission } from "../submission.ts";
import { bySlot, taskUrls } from "../views.ts";
import { waitForJob } from "../wait-job.ts";

export interface RunFlags {
  readonly name?: string;
  readonly wait: boolean;
  readonly image?: string;
  readonly replicas?: string;
  readonly publish?: readonly string[];
  readonly env?: readonly string[];
  readonly cpus?: string;
  readonly memory?: string;
  readonly constraint?: readonly string[];
}

/** How long `run` waits for a job unless --timeout says so: pulling a large image takes minutes. */
const DEFAULT_WAIT_MS = 300_000;

/** `orch run FILE|-` and `orch run --image IMAGE -- command` */
export async function run(
  context: Context,
  words: readonly string[],
  flags: RunFlags,
): Promise<void> {
  const { client, json, quiet } = context;
  const silent = json || quiet;
  const startedMs = performance.now();
  const submission = await submissionOf(words, flags);
  const written = await submit(client, submission, flags.name ?? null, silent);
  const { name } = written;
  if (!silent && !written.changed)
    note(`${name} is as it was, version ${written.version}: nothing changed`);
  if (!flags.wait) {
    if (json) printJson(await client.get<JobView>(pathOf("jobs", name)));
    else if (quiet) print(name);
    else if (written.changed) note(`${name} is submitted, version ${written.version}`);
    return;
  }
  const { job, tasks } = await waitForJob(client, {
    name,
    version: written.version ?? 0,
    timeoutMs: context.timeoutMs ?? DEFAULT_WAIT_MS,
    progress: !silent,
    signal: null,
  });
  if (json) return printJson(job);
  if (quiet) return print(name);
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  const count = `${tasks.length} ${tasks.length === 1 ? "task" : "tasks"}`;
  note(
    `${paint("green", name, process.stderr)} runs: version ${job.version}, ${count}, after ${seconds} s`,
  );
  for (const { url, task } of taskUrls(tasks.toSorted(bySlot)))
    print(`${url}  ${task.slot} on ${task.nodeName ?? "-"}`);
}

async function submissionOf(words: readonly string[], flags: RunFlags): Promise<Submission> {
  if (flags.image !== undefined) {
    return imageSubmission({
      image: flags.image,
      name: flags.name ?? null,
      replicas: flags.replicas ?? null,
      publish: flags.publish ?? [],
      env: flags.env ?? [],
      cpus: flags.cpus ?? null,
      memory: flags.memory ?? null,
      constraints: flags.constraint ?? [],
      command: words,
    });
  }
  const [file, extra] = words;
  if (file === undefined) throw usage("run needs a Compose file, or --image");
  if (extra !== undefined) throw usage(`run takes one file; "${extra}" is one too many`);
  const alone = imageOnlyFlag(flags);
  if (alone !== null) throw usage(`${alone} goes with --image; a file says it itself`);
  return readSubmission(file);
}

function imageOnlyFlag(flags: RunFlags): string | null {
  if (flags.replicas !== undefined) return "--replicas";
  if (flags.publish !== undefined) return "--publish";
  if (flags.env !== undefined) return "--env";
  if (flags.cpus !== undefined) return "--cpus";
  if (flags.memory !== undefined) return "--memory";
  return flags.constraint !== undefined ? "--constraint" : null;
}

function usage(message: string): OrchError {
  return new OrchError(
    fault(
      "usage",
      message,
      "`orch run compose.yaml`, `orch run -` for stdin, or `orch run --image nginx -p 8080:80`.",
    ),
  );
}
