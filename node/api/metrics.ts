import type { LocalView } from "../core/view-types.ts";
import type { HistogramView } from "../histogram.ts";

/** What the API counts of itself. */
export interface ApiCounters {
  /** All requests, also those that could not be parsed. */
  requests: number;
  /** Requests that were answered with a fault. */
  refused: number;
  /** Of those: a body or header above its limit. */
  tooLarge: number;
  /** Of those: no token or a wrong one, or a foreign Host or Origin. */
  unauthorized: number;
}

interface Sample {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** All figures of a node in Prometheus' text format (version 0.0.4). */
export function metricsText(
  local: LocalView,
  counters: Readonly<Record<string, number>>,
  api: ApiCounters,
  histograms: Readonly<Record<string, HistogramView>>,
  ofProcess: readonly Sample[],
): string {
  const samples: Sample[] = [
    {
      name: "orch_build_info",
      type: "gauge",
      help: "1; the labels say what runs.",
      value: 1,
      labels: { version: local.version, node: local.id, node_name: local.name },
    },
    ...raftSamples(local),
    ...Object.entries(api).map(([name, value]) => counter(`orch_api_${snakeCase(name)}`, value)),
    ...Object.entries(counters).map(([name, value]) => counter(`orch_${snakeCase(name)}`, value)),
    ...ofProcess,
  ];
  const seen = new Set<string>();
  const lines: string[] = [];
  for (const sample of samples) {
    // Two counters whose names differ only in what the format cannot express must not make it invalid.
    if (seen.has(sample.name) || !Number.isFinite(sample.value)) continue;
    seen.add(sample.name);
    lines.push(`# HELP ${sample.name} ${sample.help}`, `# TYPE ${sample.name} ${sample.type}`);
    lines.push(`${sample.name}${labelsText(sample.labels ?? {})} ${sample.value}`);
  }
  for (const [name, view] of Object.entries(histograms)) {
    lines.push(...histogramLines(`orch_${snakeCase(name)}_seconds`, view));
  }
  return `${lines.join("\n")}\n`;
}

function histogramLines(name: string, { buckets, count, sumMs }: HistogramView): string[] {
  return [
    `# HELP ${name} How long each took.`,
    `# TYPE ${name} histogram`,
    ...buckets.map((bucket) => `${name}_bucket{le="${bucket.atMostMs / 1_000}"} ${bucket.count}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${sumMs / 1_000}`,
    `${name}_count ${count}`,
  ];
}

function raftSamples(local: LocalView): Sample[] {
  return [
    gauge(
      "ready",
      "1 when the node has applied what the cluster has committed.",
      Number(local.ready),
    ),
    gauge("raft_leader", "1 on the manager.", Number(local.role === "leader")),
    gauge("raft_has_leader", "1 when this node knows a manager.", Number(local.manager !== null)),
    gauge("raft_term", "The Raft term.", local.term),
    gauge("raft_commit_index", "The last committed log index.", local.commitIndex),
    gauge("raft_applied_index", "The last applied log index.", local.appliedIndex),
    gauge(
      "raft_apply_lag",
      "Committed entries that are not applied yet.",
      local.commitIndex - local.appliedIndex,
    ),
    gauge("raft_log_entries", "Entries that are kept in the log.", local.log.entries),
    gauge("raft_snapshot_index", "The log index of the newest snapshot.", local.log.snapshotIndex),
    gauge("raft_feature_level", "What log entries may hold.", local.log.featureLevel),
    gauge("raft_last_index", "The last log index.", local.lastIndex),
    gauge("raft_voters", "Voters of the Raft configuration.", local.voters.length),
    gauge("raft_learners", "Learners of the Raft configuration.", local.learners.length),
  ];
}

function gauge(name: string, help: string, value: number): Sample {
  return { name: `orch_${name}`, type: "gauge", help, value };
}

function counter(name: string, value: number): Sample {
  const total = name.endsWith("_total") ? name : `${name}_total`;
  return { name: total, type: "counter", help: "Since the node started.", value };
}

/** Any text as a part of a metric's name: "raft.messagesSent" is raft_messages_sent. */
export function snakeCase(name: string): string {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replaceAll(/[^A-Za-z0-9]+/g, "_")
    .toLowerCase();
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const escaped = value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
    return `${name}="${escaped}"`;
  });
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

/** What Prometheus' own clients say of their process, under the same names. */
export function processSamples(): Sample[] {
  const cpu = process.cpuUsage();
  return [
    {
      name: "process_resident_memory_bytes",
      type: "gauge",
      help: "Resident memory.",
      value: process.memoryUsage.rss(),
    },
    {
      name: "process_cpu_seconds_total",
      type: "counter",
      help: "CPU time.",
      value: (cpu.user + cpu.system) / 1e6,
    },
    {
      name: "process_uptime_seconds",
      type: "gauge",
      help: "Since the process started.",
      value: process.uptime(),
    },
  ];
}
