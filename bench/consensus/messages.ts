import type { Target } from "./lane.ts";

/** What the bench and its processes say to each other over the channel of `fork`. */

export interface NodeArguments {
  readonly name: string;
  readonly dataDir: string;
  /** Of libp2p. */
  readonly port: number;
  /** Null: it founds the cluster. */
  readonly join: { readonly peer: string; readonly token: string } | null;
}

export type NodeAsk =
  | { readonly kind: "status" }
  /** Begins to measure, and to profile if a file is named for it. */
  | { readonly kind: "watch"; readonly profile: boolean }
  | { readonly kind: "watched"; readonly profile: string | null };

export interface NodeStatus {
  readonly port: number;
  /** Of this cluster. */
  readonly token: string;
  readonly leads: boolean;
  readonly voters: number;
  /** Its state is as new as what it knows to be committed. */
  readonly ready: boolean;
}

export interface NodeWatched {
  /** Share of the time in which the event loop was at work. */
  readonly utilization: number;
  /** Durable writes of its disk, and how long the one in the middle took. */
  readonly writes: number;
  readonly writeP50Ms: number;
}

export type Door = "frames" | "grpc" | "http";
export type Operation = "write" | "read";

export type LoadAsk =
  | {
      readonly kind: "cell";
      readonly door: Door;
      readonly targets: readonly Target[];
      readonly operation: Operation;
      readonly clients: number;
      /** To each target at most. */
      readonly connections: number;
      readonly seconds: number;
    }
  /** Every key is written once. */
  | { readonly kind: "fill"; readonly door: Door; readonly targets: readonly Target[] }
  /** The least that this machine takes: see floor.ts. */
  | { readonly kind: "floor"; readonly targets: readonly Target[]; readonly seconds: number };

export interface CellResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** All that were done, also before and after the time that counts. */
  readonly operations: number;
  readonly errors: number;
  /** CPU of the generator itself for one operation. */
  readonly clientMicros: number;
}

export interface FloorResult {
  readonly roundTrip: Times;
  /** A round trip in which the other process makes 300 bytes durable. */
  readonly synced: Times;
  /** As `synced`, but asked of three processes at once and done with the second answer. */
  readonly quorum: Times;
}

export interface Times {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type LoadAnswer =
  | { readonly kind: "cell"; readonly result: CellResult }
  | { readonly kind: "floor"; readonly result: FloorResult };
