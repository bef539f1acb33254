import type {
  ClusterView,
  ConfigContentView,
  JobView,
  NodeView,
  TaskView,
} from "../node/core/view-types.ts";

/** Views for tests: whole and valid, but for what a test is about. */

const NONE = { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 };

export function nodeView(over: Partial<NodeView> = {}): NodeView {
  return {
    id: "12D3KooWNode1",
    name: "n1",
    status: "ready",
    role: "voter",
    holdsLog: true,
    manager: false,
    hidden: false,
    datacenter: "dc1",
    labels: {},
    addresses: ["/ip4/127.0.0.1/tcp/7400"],
    publishAddress: "127.0.0.1",
    resources: { ...NONE, cpuMilli: 2_000, memoryMib: 4_096 },
    allocated: { ...NONE, cpuMilli: 100, memoryMib: 64 },
    usage: null,
    rttMs: null,
    missedBy: [],
    tasks: 1,
    version: "0.1.0",
    driver: "process",
    joinedAt: "2026-01-31T12:00:00.000Z",
    ...over,
  };
}

export function taskView(over: Partial<TaskView> = {}): TaskView {
  return {
    id: "c-1",
    job: "hello",
    service: "web",
    slot: "hello.web.1",
    node: "12D3KooWNode1",
    nodeName: "n1",
    state: "running",
    desired: "running",
    healthy: null,
    attempts: 1,
    image: null,
    ports: [{ host: 20_000, container: 8_080, protocol: "tcp", address: "127.0.0.1" }],
    exitCode: null,
    message: "",
    previous: null,
    version: 1,
    createdAt: "2026-01-31T12:00:00.000Z",
    startedAt: "2026-01-31T12:00:01.000Z",
    finishedAt: null,
    ...over,
  };
}

/** A job with one service, web. */
export function jobView(
  over: Partial<JobView> = {},
  web: Partial<JobView["services"][number]> = {},
): JobView {
  return {
    name: "hello",
    version: 1,
    status: "running",
    services: [
      {
        name: "web",
        type: "service",
        image: null,
        partition: "at-least-one",
        replicas: 1,
        running: 1,
        healthy: 1,
        desired: 1,
        message: "",
        ...web,
      },
    ],
    createdAt: "2026-01-31T12:00:00.000Z",
    updatedAt: "2026-01-31T12:00:00.000Z",
    ...over,
  };
}

/** A config whose content is a NUL, a line end and a byte that is no UTF-8. */
export function configView(over: Partial<ConfigContentView> = {}): ConfigContentView {
  return {
    name: "app",
    version: 3,
    sizeBytes: 3,
    createdAt: "2026-01-31T12:00:00.000Z",
    updatedAt: "2026-01-31T12:00:00.000Z",
    modifiedIndex: 40,
    data: "AAr_",
    ...over,
  };
}

export function clusterView(): ClusterView {
  return {
    id: "cl",
    manager: "12D3KooWNode1",
    term: 2,
    commitIndex: 40,
    voters: ["12D3KooWNode1"],
    standbys: [],
    nodes: 1,
    nodesReady: 1,
    jobs: 1,
    tasksRunning: 1,
    tasksPending: 0,
    quorum: true,
    brake: null,
    log: {
      baseIndex: 10,
      entries: 30,
      snapshotIndex: 20,
      snapshotAt: new Date(Date.now() - 65_000).toISOString(),
      featureLevel: 1,
      voters: ["n1"],
      transferee: null,
      followers: [{ raftId: 2, name: "n2", votes: false, match: 39, state: "probe", active: true }],
    },
    version: "0.1.0",
  };
}
