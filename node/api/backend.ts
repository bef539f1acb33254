import type { EventView, LocalView, TaskView } from "../core/view-types.ts";
import type { Request, Response } from "../core/request.ts";
import type { HistogramView } from "../histogram.ts";
import type { LogLine } from "../../runtime/engine.ts";

/** What the HTTP API asks of the node it belongs to. The driver implements it; every call works on any node. */
export interface Backend {
  /**
   * Forwards to the manager and, when the manager changes meanwhile, tries again with the same key until
   * `timeoutMs`: then refused with no-manager (not done) or unknown (may have been done).
   */
  request(request: Request, timeoutMs: number): Promise<Response>;
  /** All events after log index `since`, then new ones as they are applied, until `signal` aborts. */
  events(since: number, signal: AbortSignal): AsyncIterable<EventView>;
  /** A task's output, from whichever node runs it. */
  logs(task: TaskView, options: TaskLogOptions, signal: AbortSignal): AsyncIterable<LogLine>;
  /**
   * The replicated state as of now, from the manager: a backup's lines, without line ends. Fails with no-manager
   * when none answers in time; once the first line has come it is not begun anew.
   */
  backup(timeoutMs: number, signal: AbortSignal): AsyncIterable<string>;
  local(): LocalView;
  counters(): Readonly<Record<string, number>>;
  /** How long things took, by what. */
  histograms(): Readonly<Record<string, HistogramView>>;
}

export interface TaskLogOptions {
  readonly follow: boolean;
  readonly tail: number | null;
  readonly sinceMs: number | null;
}
