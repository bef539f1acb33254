import { quantile } from "../consensus/numbers.ts";
import type { Account, Longest } from "./meter.ts";
import type { Joins, Loss, Rates, Traffic } from "./scenes.ts";

/** All that was measured of a cluster of one size. */
export interface Measured {
  readonly nodes: number;
  readonly joins: Joins;
  readonly traffic: Traffic;
  /** By what was lost, and how. */
  readonly losses: ReadonlyMap<string, readonly Loss[]>;
  /** Of each second since all had joined. */
  readonly gossips: readonly number[];
  readonly tookS: number;
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function row(...cells: readonly (string | number)[]): void {
  say(`| ${cells.join(" | ")} |`);
}

export function report(all: readonly Measured[]): void {
  reportTraffic(all);
  reportJoins(all);
  reportLosses(all);
  say("\nreal time, s");
  row("nodes", ...all.map(({ nodes }) => nodes));
  row("s", ...all.map(({ tookS }) => tookS.toFixed(0)));
}

function reportTraffic(all: readonly Measured[]): void {
  say(
    "\nat rest, with two tasks per node; per node and second, median / max of the nodes of that kind",
  );
  row(
    "nodes",
    "kind",
    "of them",
    "connections",
    "sent",
    "received",
    "KB sent",
    "KB received",
    "core CPU, ms",
    "encoding, ms",
  );
  for (const { nodes, traffic } of all) {
    const kinds = { "no log": traffic.members, log: traffic.holders, manager: traffic.manager };
    for (const [kind, rates] of Object.entries(kinds)) {
      if (rates.nodes > 0) row(nodes, kind, rates.nodes, ...cellsOf(rates));
    }
  }
  say("\nturns at rest: the longest, ms (of it in the core; what it handled)");
  row("nodes", "manager", "others");
  for (const { nodes, traffic } of all) {
    row(nodes, turn(traffic.longest), turn(traffic.longestOther));
  }
  say(
    "\ngossips of the whole cluster since all had joined, 1/s: on average, and in the busiest second",
  );
  row("nodes", "average", "most");
  for (const { nodes, gossips } of all) {
    const sum = gossips.reduce((total, count) => total + count, 0);
    row(nodes, (sum / gossips.length).toFixed(1), Math.max(...gossips));
  }
}

function cellsOf({ median, most, connections }: Rates): string[] {
  const both = (pick: (account: Account) => number, digits: number): string =>
    `${pick(median).toFixed(digits)} / ${pick(most).toFixed(digits)}`;
  return [
    `${quantile(connections, 0.5)} / ${Math.max(...connections)}`,
    both(({ sent }) => sent, 0),
    both(({ received }) => received, 0),
    both(({ sentBytes }) => sentBytes / 1000, 1),
    both(({ receivedBytes }) => receivedBytes / 1000, 1),
    both(({ cpuMs }) => cpuMs, 2),
    both(({ encodeMs }) => encodeMs, 2),
  ];
}

function reportJoins(all: readonly Measured[]): void {
  say(
    "\njoins, all at once through all members of a small cluster, as fast as their limits let them in",
  );
  row(
    "nodes",
    "joined",
    "all know all, ms",
    "member lists sent",
    "MB of them",
    "streams opened",
    "manager's CPU, ms",
    "… in its busiest s",
    "others' CPU, ms, median",
    "longest turn of the manager, ms",
    "… of others",
  );
  for (const { nodes, joins } of all) {
    row(
      nodes,
      joins.count,
      joins.ms,
      joins.memberMessages,
      (joins.memberBytes / 1e6).toFixed(1),
      joins.dials,
      joins.managerMs.toFixed(0),
      joins.busiestMs.toFixed(0),
      joins.otherMs.toFixed(1),
      turn(joins.longest),
      turn(joins.longestOther),
    );
  }
}

function reportLosses(all: readonly Measured[]): void {
  say("\nlosses; ms from the loss, p50 / max");
  row(
    "lost",
    "nodes",
    "how many, times",
    "down committed",
    "replacements committed",
    "false downs",
    "alarms per lost node",
    "MB of member lists",
    "longest turn of the manager, ms",
    "… of others",
  );
  for (const name of all[0]?.losses.keys() ?? []) {
    for (const { nodes, losses } of all) rowOfLosses(name, nodes, losses.get(name) ?? []);
  }
}

function rowOfLosses(name: string, nodes: number, losses: readonly Loss[]): void {
  const [first] = losses;
  if (first === undefined) return;
  const sum = (pick: (loss: Loss) => number): number =>
    losses.reduce((total, loss) => total + pick(loss), 0);
  const times = (pick: (loss: Loss) => readonly number[]): string => {
    const ms = losses.flatMap(pick);
    return ms.length === 0 ? "-" : `${quantile(ms, 0.5)} / ${Math.max(...ms)}`;
  };
  const longest = (pick: (loss: Loss) => Longest): string =>
    turn(losses.map(pick).reduce((a, b) => (b.turnMs > a.turnMs ? b : a)));
  row(
    name,
    nodes,
    `${first.fallen}, ${losses.length}`,
    times(({ downMs }) => downMs),
    times(({ replacedMs }) => replacedMs),
    sum(({ falseDowns }) => falseDowns),
    Math.round(sum(({ alarms }) => alarms) / sum(({ fallen }) => fallen)),
    (sum(({ memberBytes }) => memberBytes) / losses.length / 1e6).toFixed(2),
    longest((loss) => loss.longest),
    longest((loss) => loss.longestOther),
  );
}

function turn({ turnMs, handleMs, events }: Longest): string {
  if (turnMs === 0) return "< 1";
  return `${turnMs.toFixed(1)} (${handleMs.toFixed(1)}; ${events})`;
}
