import type { CellResult, FloorResult, NodeWatched, Operation, Times } from "./messages.ts";
import { median } from "./numbers.ts";

/** One cell of one round. */
export interface Row extends CellResult {
  readonly system: string;
  readonly operation: Operation;
  readonly clients: number;
  /** CPU of all three servers for one operation. */
  readonly serverMicros: number;
  /** Between the servers, for one operation; null: unknown. */
  readonly wireBytes: number | null;
  /** What each node says of itself, the leader first; empty: nothing. */
  readonly nodes: readonly NodeWatched[];
}

/** What issue and design ask of orch, as ratios to etcd in the same run. */
const WRITE_TARGETS: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [16, 1.5],
  [128, 1.5],
  [512, 2],
]);
const READ_TARGET = 2;
/** Of one round trip with one sync in it. */
const LATENCY_TARGET = 1.5;

/** Medians of the rounds. */
type Cell = Omit<Row, "nodes">;

let floorMs = Number.NaN;

export function reportFloor(floors: readonly FloorResult[]): void {
  const show = (what: string, pick: (floor: FloorResult) => Times): number => {
    const p50 = median(floors.map((floor) => pick(floor).p50Ms));
    const p99 = median(floors.map((floor) => pick(floor).p99Ms));
    say(`${what.padEnd(64)}${ms(p50)}${ms(p99)}`);
    return p50;
  };
  say("");
  say(`${"the floor, between plain processes on this disk".padEnd(64)}${head(["p50", "p99"])}`);
  show("one round trip over TCP", ({ roundTrip }) => roundTrip);
  floorMs = show("one round trip with one fdatasync of 300 bytes", ({ synced }) => synced);
  show("the same asked of three at once, done with the second answer", ({ quorum }) => quorum);
}

export function report(rows: readonly Row[]): void {
  for (const operation of ["write", "read"] as const) {
    const of = rows.filter((row) => row.operation === operation);
    if (of.length === 0) continue;
    say("");
    say(
      `${`${operation}s of 256 bytes`.padEnd(20)}clients${head(["a second", "p50", "p99", "CPU/op", "client CPU", "wire/op", "errors"])}   event loops (syncs/op)`,
    );
    for (const clients of new Set(of.map((row) => row.clients))) {
      for (const system of new Set(of.map((row) => row.system))) {
        line(of.filter((row) => row.clients === clients && row.system === system));
      }
    }
  }
  ratios(rows);
}

function line(rounds: readonly Row[]): void {
  const [first] = rounds;
  if (first === undefined) return;
  const cell = medians(first, rounds);
  const loops = first.nodes
    .map((_, i) => {
      const of = (pick: (node: NodeWatched, row: Row) => number): number =>
        median(rounds.map((row) => (row.nodes[i] === undefined ? 0 : pick(row.nodes[i], row))));
      const busy = (100 * of(({ utilization }) => utilization)).toFixed(0);
      const writes = of((node, row) => node.writes / Math.max(1, row.operations)).toFixed(2);
      const each = of(({ writeP50Ms }) => writeP50Ms).toFixed(1);
      return cell.operation === "read" ? `${busy} %` : `${busy} % (${writes} x ${each} ms)`;
    })
    .join(", ");
  const wire = cell.wireBytes === null ? "?" : cell.wireBytes.toFixed(0);
  say(
    `${cell.system.padEnd(20)}${String(cell.clients).padStart(7)}${cell.perSecond.toFixed(0).padStart(12)}${ms(cell.p50Ms)}${ms(cell.p99Ms)}${us(cell.serverMicros)}${us(cell.clientMicros)}${`${wire} B`.padStart(12)}${String(cell.errors).padStart(12)}   ${loops}`,
  );
}

function medians(first: Row, rounds: readonly Row[]): Cell {
  const of = (pick: (row: Row) => number): number => median(rounds.map(pick));
  return {
    system: first.system,
    operation: first.operation,
    clients: first.clients,
    perSecond: of((row) => row.perSecond),
    p50Ms: of((row) => row.p50Ms),
    p99Ms: of((row) => row.p99Ms),
    operations: of((row) => row.operations),
    clientMicros: of((row) => row.clientMicros),
    serverMicros: of((row) => row.serverMicros),
    wireBytes: first.wireBytes === null ? null : of((row) => row.wireBytes ?? 0),
    errors: rounds.reduce((sum, row) => sum + row.errors, 0),
  };
}

/** orch beside etcd, and beside what is asked of it. */
function ratios(rows: readonly Row[]): void {
  const find = (system: string, like: Row): Cell | null => {
    const rounds = rows.filter(
      (row) =>
        row.system === system && row.operation === like.operation && row.clients === like.clients,
    );
    const [first] = rounds;
    return first === undefined ? null : medians(first, rounds);
  };
  say("");
  say(`${"orch / etcd".padEnd(20)}clients${head(["a second", "asked for", "p99", "asked for"])}`);
  const seen = new Set<string>();
  for (const row of rows) {
    const key = `${row.operation}s`;
    const [orch, etcd] = [find("orch", row), find("etcd", row)];
    if (seen.has(`${key}${row.clients}`) || orch === null || etcd === null) continue;
    seen.add(`${key}${row.clients}`);
    const target =
      row.operation === "read" ? READ_TARGET : (WRITE_TARGETS.get(row.clients) ?? null);
    const rate = orch.perSecond / etcd.perSecond;
    const late = orch.p99Ms / etcd.p99Ms;
    const asked = target === null ? "" : `>= ${target} ${rate >= target ? "yes" : "no"}`;
    const askedLate = row.operation === "read" ? "" : `< 1 ${late < 1 ? "yes" : "no"}`;
    say(
      `${key.padEnd(20)}${String(row.clients).padStart(7)}${times(rate)}${asked.padStart(12)}${times(late)}${askedLate.padStart(12)}`,
    );
  }
  const alone = rows.find((row) => row.operation === "write" && row.clients === 1);
  const one = alone === undefined ? null : find("orch", alone);
  if (one === null) return;
  const part = one.p50Ms / floorMs;
  say(
    `a write of 1 client takes ${part.toFixed(2)} x one round trip with one sync (p50); asked for: <= ${LATENCY_TARGET} ${part <= LATENCY_TARGET ? "yes" : "no"}`,
  );
}

function head(words: readonly string[]): string {
  return words.map((word) => word.padStart(12)).join("");
}

function ms(value: number): string {
  return `${value.toFixed(2)} ms`.padStart(12);
}

function us(value: number): string {
  return `${value.toFixed(0)} us`.padStart(12);
}

function times(value: number): string {
  return `${value.toFixed(2)} x`.padStart(12);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
