/** What a user asks for: data only, as it stands in the replicated log. Absent is null, never undefined. */

export interface JobSpec {
  readonly name: string;
  readonly services: readonly ServiceSpec[];
}

export interface ServiceSpec {
  readonly name: string;
  readonly type: "service";
  /** Null: no image, the task is an OS process (driver `process`). */
  readonly image: string | null;
  /** Which runtime the service needs; null: any that can run it (an image needs `docker`). */
  readonly driver: DriverName | null;
  /** Null: the image's own. */
  readonly entrypoint: readonly string[] | null;
  /** Null: the image's own. */
  readonly command: readonly string[] | null;
  readonly environment: Readonly<Record<string, string>>;
  /** Null: the image's own, or the task's own folder under the process driver. */
  readonly workingDir: string | null;
  readonly ports: readonly PortSpec[];
  readonly volumes: readonly VolumeSpec[];
  readonly replicas: number;
  /** What the scheduler counts against a node's capacity. */
  readonly reservations: Resources;
  /** What the engine enforces; null: no limit. */
  readonly limits: { readonly cpuMilli: number | null; readonly memoryMib: number | null };
  readonly restart: RestartPolicy;
  readonly constraints: readonly Constraint[];
  readonly stopGraceMs: number;
  readonly partition: Partition;
}

/**
 * What becomes of a task whose node is cut off, and may run on unseen. `at-least-one`: another takes its place at once, and when the
 * node is back the older of the two stays. `at-most-one`: its worker stops it when its lease runs out, and another takes its
 * place when that is over for sure. docs/decisions/0026.
 */
export type Partition = "at-least-one" | "at-most-one";

export type DriverName = "docker" | "process" | "memory";

/** Integers: thousandths of a CPU, MiB. */
export interface Resources {
  readonly cpuMilli: number;
  readonly memoryMib: number;
  readonly diskMib: number;
}

export interface PortSpec {
  readonly container: number;
  /** Null: the scheduler picks one from the node's range. */
  readonly host: number | null;
  readonly protocol: "tcp" | "udp";
}

export type VolumeSpec =
  /** An engine volume of that name, scoped to the job: `<job>_<name>`. */
  | {
      readonly kind: "named";
      readonly name: string;
      readonly target: string;
      readonly readOnly: boolean;
    }
  /** A path of the node. */
  | {
      readonly kind: "bind";
      readonly source: string;
      readonly target: string;
      readonly readOnly: boolean;
    }
  | { readonly kind: "tmpfs"; readonly target: string; readonly sizeMib: number | null };

export interface RestartPolicy {
  readonly condition: "none" | "on-failure" | "any";
  /** The wait before the first restart; doubled by each further one up to a minute. */
  readonly delayMs: number;
  /** Null: for ever. */
  readonly maxAttempts: number | null;
  /** An attempt that ran this long counts as a success and resets the count and the delay. */
  readonly windowMs: number;
}

/** `node.id`, `node.name`, `node.datacenter`, `node.platform.os|arch`, `node.labels.<x>`. */
export interface Constraint {
  readonly attribute: string;
  readonly operator: "==" | "!=";
  readonly value: string;
}
