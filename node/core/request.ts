import type { Fault } from "../../lib/errors.ts";
import type { Command } from "../../state/command.ts";

/** What a user may ask of the cluster, through any node; the manager answers. */
export type Request =
  /**
   * A write. `key` makes it safe to repeat: the same key is applied once and answered alike.
   * Answered once the command is committed and applied.
   */
  | { readonly kind: "write"; readonly key: string; readonly command: UserCommand }
  /** A read: linearizable, unless `stale`: then from what the asked node knows. */
  | { readonly kind: "read"; readonly query: Query; readonly stale: boolean }
  /** Another node is to manage: this one, by id or name, or (null) the voter that is most up to date. */
  | { readonly kind: "transfer"; readonly node: string | null };

/** The commands that a request may carry; all others are the manager's own. */
export type UserCommand = Extract<
  Command,
  {
    kind:
      | "job-put"
      | "job-stop"
      | "job-restore"
      | "task-stop"
      | "config-put"
      | "config-remove"
      | "config-restore"
      | "join-secret-put"
      | "node-admit"
      | "node-leave"
      | "node-remove"
      | "brake-release";
  }
>;

export type Query =
  | { readonly kind: "nodes" }
  /** By id or name. */
  | { readonly kind: "node"; readonly node: string }
  | { readonly kind: "jobs" }
  | { readonly kind: "job"; readonly job: string }
  /** `all`: also those that are over. */
  | {
      readonly kind: "tasks";
      readonly job: string | null;
      readonly service: string | null;
      readonly node: string | null;
      readonly all: boolean;
    }
  /** By task id, or by slot name: its newest task. */
  | { readonly kind: "task"; readonly task: string }
  | { readonly kind: "configs" }
  | { readonly kind: "config"; readonly config: string }
  | { readonly kind: "cluster" }
  | { readonly kind: "token" };

export type Response =
  /** `body` is the view that belongs to the request (view-types.ts). `index`: the log index it reflects. */
  | {
      readonly kind: "ok";
      readonly index: number;
      readonly manager: string | null;
      readonly body: unknown;
    }
  | { readonly kind: "refused"; readonly fault: Fault };
