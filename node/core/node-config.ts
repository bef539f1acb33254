import type { Millis } from "../../state/ids.ts";
import type { NodeFacts } from "../../state/node-record.ts";
import type { LOG_BOUNDS } from "./defaults.ts";
import type { Identity } from "../storage.ts";

/** What a node begins with, besides what its disk holds. */
export interface NodeConfig {
  readonly identity: Identity;
  readonly facts: NodeFacts;
  readonly orchVersion: string;
  readonly logBounds: typeof LOG_BOUNDS;
  /** A voter or standby that is away this long loses its seat. */
  readonly replaceAfterMs: number;
  /** See `brakeOf`. */
  readonly brakePercent: number;
  /** The end of the lease that an earlier process of this node held; 0: it held none. */
  readonly leaseUntilMs: Millis;
}
