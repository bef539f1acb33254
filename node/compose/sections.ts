/** The keys of the Compose Specification by section: which orch reads, and which it refuses by name. */

export interface Section {
  readonly supported: readonly string[];
  /** Keys that Compose or a later orch knows; the text says what to write instead, empty: nothing better. */
  readonly refused: Readonly<Record<string, string>>;
}

function refused(
  keys: string,
  hints: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const bare = keys.split(" ").filter((key) => key !== "");
  return { ...Object.fromEntries(bare.map((key) => [key, ""])), ...hints };
}

export const TOP: Section = {
  supported: ["name", "version", "services", "volumes", "x-orch"],
  refused: refused("models", {
    include: "Put everything into one file.",
    networks: "Services reach each other through published ports.",
    configs: "Put the file into the image, or pass its values as environment.",
    secrets: "Put the file on the nodes and mount it, or pass its value as environment.",
  }),
};

export const TOP_X_ORCH: Section = {
  supported: [],
  refused: refused("datacenters priority rebalance"),
};

export const SERVICE: Section = {
  supported: [
    "image",
    "command",
    "entrypoint",
    "environment",
    "working_dir",
    "ports",
    "volumes",
    "restart",
    "deploy",
    "stop_grace_period",
    "x-orch",
  ],
  refused: refused(
    "annotations attach blkio_config cap_add cap_drop cgroup cgroup_parent cpu_count cpu_percent cpu_period " +
      "cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpuset credential_spec depends_on develop " +
      "device_cgroup_rules devices dns dns_opt dns_search domainname external_links extra_hosts gpus group_add " +
      "healthcheck init ipc isolation label_file links logging mac_address mem_swappiness memswap_limit models " +
      "oom_kill_disable oom_score_adj pid pids_limit platform post_start pre_stop privileged profiles provider " +
      "pull_policy pull_refresh_after read_only runtime security_opt shm_size stdin_open stop_signal storage_opt " +
      "sysctls tty ulimits use_api_socket user userns_mode uts volumes_from",
    {
      build:
        "orch runs images, it does not build them: build and push the image, then write image.",
      configs: "Put the file into the image, or pass its values as environment.",
      container_name: "A task is named after its slot: <job>.<service>.<n>.",
      cpus: "Write deploy.resources.limits.cpus.",
      env_file: "Write the variables under environment.",
      expose: "A port of a container needs no mention; ports publishes it.",
      extends: "Use a YAML anchor: `<<: *name`.",
      hostname: "",
      labels: "",
      mem_limit: "Write deploy.resources.limits.memory.",
      mem_reservation: "Write deploy.resources.reservations.memory.",
      network_mode: "",
      networks: "Services reach each other through published ports.",
      scale: "Write deploy.replicas.",
      secrets: "Put the file on the nodes and mount it, or pass its value as environment.",
      tmpfs: "Write a volume with `type: tmpfs` and a target.",
    },
  ),
};

export const SERVICE_X_ORCH: Section = {
  supported: ["driver", "disk", "partition"],
  refused: refused("type datacenters priority affinity schedule progress_deadline canary shared"),
};

export const DEPLOY: Section = {
  supported: ["replicas", "mode", "resources", "restart_policy", "placement"],
  refused: refused("endpoint_mode labels rollback_config update_config"),
};

export const RESOURCES: Section = { supported: ["limits", "reservations"], refused: {} };
export const LIMITS: Section = { supported: ["cpus", "memory"], refused: refused("pids") };
export const RESERVATIONS: Section = {
  supported: ["cpus", "memory"],
  refused: refused("generic_resources devices pids"),
};
export const RESTART_POLICY: Section = {
  supported: ["condition", "delay", "max_attempts", "window"],
  refused: {},
};
export const PLACEMENT: Section = {
  supported: ["constraints"],
  refused: refused("preferences max_replicas_per_node"),
};

export const PORT: Section = {
  supported: ["target", "published", "protocol", "mode"],
  refused: refused("name app_protocol", {
    host_ip:
      "orch publishes on the address that each node is told to publish on: leave host_ip out.",
  }),
};

export const VOLUME: Section = {
  supported: ["type", "source", "target", "read_only", "tmpfs"],
  refused: refused("consistency bind volume image"),
};
export const VOLUME_TMPFS: Section = { supported: ["size"], refused: refused("mode") };
export const TOP_VOLUME: Section = {
  supported: [],
  refused: refused("name driver driver_opts labels external", {
    external:
      "A named volume belongs to its job; for a path that exists on the nodes write a bind mount.",
  }),
};

/** The closest of `known` to a mistyped key, or null when none is close enough to be meant. */
export function closest(key: string, known: readonly string[]): string | null {
  const bound = key.length <= 4 ? 1 : 2;
  let best: { readonly key: string; readonly distance: number } | null = null;
  for (const candidate of known) {
    if (Math.abs(candidate.length - key.length) > bound) continue;
    const distance = editDistance(key, candidate);
    if (distance <= bound && (best === null || distance < best.distance))
      best = { key: candidate, distance };
  }
  return best?.key ?? null;
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}
