import { checkLinearizable } from "../linearizability/checker.ts";
import {
  describeOperation,
  type Operation,
  operationsByKey,
  valueWritten,
  versionTold,
} from "../linearizability/history.ts";
import { cheapViolation, lossViolation } from "../linearizability/oracle.ts";

/** What each register held in the end: `version` 0: it was absent. */
export type Final = ReadonlyMap<string, { readonly version: number; readonly value: string }>;

/** Judges a history against itself and against what was there in the end. The first violation; null: there is none. */
export function violationOf(history: readonly Operation[], final: Final): string | null {
  const cheap =
    cheapViolation(history) ??
    lossViolation(history, (key) => ({ version: final.get(key)?.version ?? 0, values: null })) ??
    unexplainedVersion(history, final);
  if (cheap !== null) return cheap;
  const verdict = checkLinearizable(history);
  if (verdict.kind === "violated") return verdict.explanation;
  if (verdict.kind === "undecided") return `key ${verdict.key}: its history cannot be decided`;
  return null;
}

/**
 * Every version of a register must have been made by a write of its own: one that was acknowledged with it, or whose
 * value was seen at it, or one of those whose outcome nobody knows. More versions than that: a write was made twice.
 */
function unexplainedVersion(history: readonly Operation[], final: Final): string | null {
  for (const [key, operations] of operationsByKey(history)) {
    const known = new Set(operations.map((each) => versionTold(each) ?? 0).filter((v) => v > 0));
    const seen = new Set(
      operations.flatMap(({ output }) => (output?.kind === "found" ? [output.value] : [])),
    );
    const open = operations.filter(
      (each) => each.output === null && !seen.has(valueWritten(each) ?? ""),
    );
    const version = final.get(key)?.version ?? 0;
    const missing = Array.from({ length: version }, (_, at) => at + 1).filter((v) => !known.has(v));
    if (missing.length > open.length) {
      return [
        `key ${key}: versions ${missing.join(", ")} were told to nobody, but only ${open.length} writes are unknown:`,
        ...open.map((each) => `  ${describeOperation(each)}`),
      ].join("\n");
    }
  }
  return null;
}
