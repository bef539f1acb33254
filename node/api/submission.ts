import { z } from "zod";
import { fault, OrchError } from "../../lib/errors.ts";
import type { JobSpec } from "../../state/spec.ts";
import { parseCompose } from "../compose/parse.ts";
import { invalidFault } from "../compose/problem.ts";
import type { ProblemView } from "../core/view-types.ts";
import { jobSpecSchema } from "./spec-schema.ts";

/** The body of PUT /v1/jobs/{name}. */
export interface Submission {
  readonly compose?: string | null | undefined;
  readonly file?: string | null | undefined;
  readonly defaultName?: string | null | undefined;
  readonly environment?: Readonly<Record<string, string>> | null | undefined;
  readonly spec?: JobSpec | null | undefined;
}

export const submissionSchema: z.ZodType<Submission> = z
  .strictObject({
    compose: z.string().nullish().describe("The text of a Compose file"),
    file: z.string().min(1).max(4_096).nullish().describe("Its name, for messages"),
    defaultName: z
      .string()
      .max(256)
      .nullish()
      .describe("The job's name when neither the URL nor the file gives one"),
    environment: z
      .record(z.string(), z.string())
      .nullish()
      .describe("Values for the file's variables"),
    spec: jobSpecSchema.nullish().describe("Instead of compose: the job as data"),
  })
  .refine(
    ({ compose, spec }) =>
      (typeof compose === "string") !== (typeof spec === "object" && spec !== null),
    "expected either compose or spec",
  );

/**
 * The spec that a submission asks for. `name` (the URL's) wins over the file's or spec's own; null: theirs.
 * Throws OrchError invalid with every problem of the file in `details.problems`.
 */
export function submissionOf(
  name: string | null,
  submission: Submission | null,
): { readonly spec: JobSpec; readonly warnings: readonly ProblemView[] } {
  const { compose, file, defaultName, environment, spec } = submission ?? {};
  if (spec !== undefined && spec !== null)
    return { spec: { ...spec, name: name ?? spec.name }, warnings: [] };
  if (compose === undefined || compose === null) {
    throw new OrchError(
      fault("invalid", "body: expected either compose or spec", "Send one of them."),
    );
  }
  const fileName = file ?? "compose.yaml";
  const outcome = parseCompose(compose, {
    file: fileName,
    // A name in the URL also serves a file that has none, whatever is in the body.
    defaultName: name ?? defaultName ?? "",
    environment: environment ?? {},
  });
  if (outcome.kind === "invalid") throw new OrchError(invalidFault(fileName, outcome.problems));
  return {
    spec: { ...outcome.spec, name: name ?? outcome.spec.name },
    warnings: outcome.warnings,
  };
}
