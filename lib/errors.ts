/**
 * Every error that orch shows a person or a program. `status` is the HTTP status of the API's answer,
 * `exit` the CLI's exit code, `retryable` whether the same call may succeed later without a change.
 * docs/errors.md explains each; a test holds the two lists together.
 */
export const ERRORS = {
  // The user's input.
  usage: { status: 400, exit: 64, retryable: false },
  invalid: { status: 400, exit: 1, retryable: false },
  "too-large": { status: 413, exit: 1, retryable: false },
  "not-found": { status: 404, exit: 1, retryable: false },
  conflict: { status: 409, exit: 1, retryable: false },
  "version-mismatch": { status: 412, exit: 1, retryable: false },
  "cannot-place": { status: 422, exit: 1, retryable: false },
  unauthorized: { status: 401, exit: 77, retryable: false },
  forbidden: { status: 403, exit: 77, retryable: false },
  // The cluster.
  "no-manager": { status: 503, exit: 75, retryable: true },
  unknown: { status: 504, exit: 75, retryable: true },
  overloaded: { status: 429, exit: 75, retryable: true },
  unreachable: { status: 503, exit: 69, retryable: true },
  // Joining and starting a node.
  "token-malformed": { status: 400, exit: 77, retryable: false },
  "token-refused": { status: 403, exit: 77, retryable: false },
  "wrong-cluster": { status: 403, exit: 77, retryable: false },
  "already-initialized": { status: 409, exit: 1, retryable: false },
  "not-initialized": { status: 409, exit: 1, retryable: false },
  "data-in-use": { status: 409, exit: 1, retryable: true },
  "data-newer": { status: 409, exit: 1, retryable: false },
  "data-damaged": { status: 500, exit: 1, retryable: false },
  "data-unwritable": { status: 500, exit: 1, retryable: false },
  "port-in-use": { status: 409, exit: 1, retryable: true },
  removed: { status: 403, exit: 77, retryable: false },
  "too-old": { status: 409, exit: 1, retryable: false },
  // Containers.
  "image-missing": { status: 422, exit: 1, retryable: false },
  "engine-unavailable": { status: 503, exit: 1, retryable: true },
  "engine-refused": { status: 422, exit: 1, retryable: false },
  // orch itself.
  bug: { status: 500, exit: 70, retryable: false },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** What an error is on every border (API body, wire, `--json`): a code, a sentence, facts, the next step. */
export interface Fault {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly hint: string;
}

/** Builds a fault. `message` says what and where, `hint` what to do next. */
export function fault(
  code: ErrorCode,
  message: string,
  hint: string,
  details: Readonly<Record<string, unknown>> = {},
): Fault {
  return { code, message, details, hint };
}

/** A fault as an exception: for the shells (disk, network, engine, API, CLI). The core returns faults. */
export class OrchError extends Error {
  override name = "OrchError";
  readonly fault: Fault;
  constructor(reason: Fault, cause?: unknown) {
    super(reason.message, { cause });
    this.fault = reason;
  }
}

/** The fault inside anything thrown; what is not an OrchError is a bug and says so. */
export function faultOf(error: unknown): Fault {
  if (error instanceof OrchError) return error.fault;
  const message = error instanceof Error ? error.message : String(error);
  return fault("bug", message, "This is a bug in orch: please report it with the node's log.", {
    stack: error instanceof Error ? (error.stack ?? "") : "",
  });
}
