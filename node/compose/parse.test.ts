import { expect, test } from "vitest";
import { parseCompose } from "./parse.ts";
import { parseText, problemsOf, warningsOf, webFile, webOf } from "./testing.ts";

test("a service that only names an image gets every default", () => {
  expect(parseText("services: {web: {image: nginx}}")).toEqual({
    kind: "parsed",
    warnings: [],
    spec: {
      name: "my-shop",
      services: [
        {
          name: "web",
          type: "service",
          image: "nginx",
          driver: null,
          entrypoint: null,
          command: null,
          environment: {},
          workingDir: null,
          ports: [],
          volumes: [],
          replicas: 1,
          reservations: { cpuMilli: 100, memoryMib: 64, diskMib: 0 },
          limits: { cpuMilli: null, memoryMib: null },
          restart: { condition: "any", delayMs: 5000, maxAttempts: null, windowMs: 5000 },
          constraints: [],
          stopGraceMs: 10_000,
          partition: "at-least-one",
        },
      ],
    },
  });
});

test("a job's name is the file's, else the default one put into form", () => {
  const named = parseText("name: shop_2\nservices: {web: {image: a}}");
  expect(named).toMatchObject({ spec: { name: "shop_2" } });
  expect(problemsOf("name: My.Shop\nservices: {web: {image: a}}")).toEqual([
    '1:7 name: "My.Shop" is not a name for a job or a service',
  ]);
  const unnamed = parseCompose("services: {web: {image: a}}", {
    file: "-",
    defaultName: "..",
    environment: {},
  });
  expect(unnamed).toMatchObject({
    kind: "invalid",
    problems: [{ message: "the job has no name" }],
  });
});

const tcp = (container: number, host: number | null): object => ({
  container,
  host,
  protocol: "tcp",
});
const restart = { condition: "any", delayMs: 5000, maxAttempts: null, windowMs: 5000 };

// The keys of a service, and what its spec must then hold.
const GOOD: readonly (readonly [string, object])[] = [
  ["image: reg.example:5000/team/app:${TAG}", { image: "reg.example:5000/team/app:1.27" }],
  [`image: app@sha256:${"a".repeat(64)}`, { image: `app@sha256:${"a".repeat(64)}` }],
  ["image: a\ncommand: nginx -g 'daemon off;'", { command: ["nginx", "-g", "daemon off;"] }],
  ["image: a\ncommand: [echo, a b, '']", { command: ["echo", "a b", ""] }],
  ["image: a\ncommand: []", { command: [] }],
  ["image: a\ncommand:", { command: null }],
  [
    'image: a\nentrypoint: sh -c "echo $$HOME $HOME"',
    { entrypoint: ["sh", "-c", "echo $HOME /home/u"] },
  ],
  [
    "image: a\nenvironment: {B: 1, A: x, C: true, D: '', E: 1.5}",
    { environment: { A: "x", B: "1", C: "true", D: "", E: "1.5" } },
  ],
  ["image: a\nenvironment: {TAG: , NOPE: }", { environment: { TAG: "1.27" } }],
  [
    "image: a\nenvironment: [A=b=c, TAG, NOPE, constructor, EMPTY]",
    { environment: { A: "b=c", EMPTY: "", TAG: "1.27" } },
  ],
  ["image: a\nworking_dir: /srv", { workingDir: "/srv" }],
  [
    "image: a\nports: [80, '81', 8080:82]",
    { ports: [tcp(80, null), tcp(81, null), tcp(82, 8080)] },
  ],
  [
    "image: a\nports:\n- 22:22\n- 53:53/udp",
    { ports: [tcp(22, 22), { container: 53, host: 53, protocol: "udp" }] },
  ],
  ["image: a\nports: [3000-3001:4000-4001]", { ports: [tcp(4000, 3000), tcp(4001, 3001)] }],
  [
    "image: a\nports: [53:53/tcp, 53:53/udp]",
    { ports: [tcp(53, 53), { container: 53, host: 53, protocol: "udp" }] },
  ],
  [
    "image: a\nports: [{target: 80, published: '8080', mode: host}, {target: 9, protocol: udp}]",
    { ports: [tcp(80, 8080), { container: 9, host: null, protocol: "udp" }] },
  ],
  [
    "image: a\nvolumes: ['data:/d:ro', '/etc/x:/x']",
    {
      volumes: [
        { kind: "named", name: "data", target: "/d", readOnly: true },
        { kind: "bind", source: "/etc/x", target: "/x", readOnly: false },
      ],
    },
  ],
  [
    "image: a\nvolumes:\n- {type: volume, source: data, target: /d}\n- {type: bind, source: /s, target: /b, read_only: '${FLAG}'}\n- {type: tmpfs, target: /t, tmpfs: {size: 1048577}}\n- {type: tmpfs, target: /u}",
    {
      volumes: [
        { kind: "named", name: "data", target: "/d", readOnly: false },
        { kind: "bind", source: "/s", target: "/b", readOnly: true },
        { kind: "tmpfs", target: "/t", sizeMib: 2 },
        { kind: "tmpfs", target: "/u", sizeMib: null },
      ],
    },
  ],
  ["image: a\nrestart: no", { restart: { ...restart, condition: "none" } }],
  ["image: a\nrestart: 'no'", { restart: { ...restart, condition: "none" } }],
  ["image: a\nrestart: unless-stopped", { restart }],
  ["image: a\nrestart: on-failure", { restart: { ...restart, condition: "on-failure" } }],
  [
    "image: a\nrestart: on-failure:3",
    { restart: { ...restart, condition: "on-failure", maxAttempts: 3 } },
  ],
  [
    "image: a\ndeploy: {restart_policy: {condition: none, delay: 500ms, max_attempts: 4, window: 1m30s}}",
    { restart: { condition: "none", delayMs: 500, maxAttempts: 4, windowMs: 90_000 } },
  ],
  ["image: a\ndeploy: {restart_policy: {window: 0s, max_attempts: 0}}", { restart }],
  ["image: a\ndeploy: {mode: replicated, replicas: 100000}", { replicas: 100_000 }],
  ["image: a\ndeploy: {replicas: '${COUNT}'}", { replicas: 3 }],
  ["image: a\ndeploy:", { replicas: 1 }],
  [
    "image: a\ndeploy: {resources: {limits: {cpus: '0.5', memory: 50m}}}",
    {
      limits: { cpuMilli: 500, memoryMib: 50 },
      reservations: { cpuMilli: 500, memoryMib: 50, diskMib: 0 },
    },
  ],
  [
    "image: a\ndeploy: {resources: {limits: {memory: 1.5g}, reservations: {cpus: 0.25, memory: 8388608}}}",
    {
      limits: { cpuMilli: null, memoryMib: 1536 },
      reservations: { cpuMilli: 250, memoryMib: 8, diskMib: 0 },
    },
  ],
  [
    "image: a\ndeploy: {placement: {constraints: [node.labels.zone == eu, 'node.hostname!=n 1', node.platform.arch==amd64]}}",
    {
      constraints: [
        { attribute: "node.labels.zone", operator: "==", value: "eu" },
        { attribute: "node.name", operator: "!=", value: "n 1" },
        { attribute: "node.platform.arch", operator: "==", value: "amd64" },
      ],
    },
  ],
  ["image: a\nstop_grace_period: 1m", { stopGraceMs: 60_000 }],
  [
    "image: a\nx-orch: {driver: docker, disk: 10g}",
    { driver: "docker", reservations: { diskMib: 10_240 } },
  ],
  ["command: sleep 60", { image: null, driver: "process", command: ["sleep", "60"] }],
  ["image: a\nx-orch: {partition: at-most-one}", { partition: "at-most-one" }],
  ["entrypoint: [sleep]\ncommand: ['60']\nx-orch: {driver: process}", { driver: "process" }],
  ["image: a\nx-mine: {anything: [goes]}", { image: "a" }],
];

test.each(GOOD)("takes over %s", (body, expected) => {
  expect(webOf(body)).toMatchObject(expected);
});

test("a deploy.restart_policy counts more than restart", () => {
  const web = webOf("image: a\nrestart: always\ndeploy: {restart_policy: {condition: none}}");
  expect(web.restart.condition).toBe("none");
});

test("variables stand in one order, whatever the file's, and only those that were asked for", () => {
  const list = webOf("image: a\nenvironment: [B=1, TAG, NOPE, constructor, A=2]").environment;
  const map = webOf("image: a\nenvironment: {TAG: , A: 2, B: '1', toString: }").environment;
  const expected = [
    ["A", "2"],
    ["B", "1"],
    ["TAG", "1.27"],
  ];
  expect(Object.entries(list)).toEqual(expected);
  expect(Object.entries(map)).toEqual(expected);
});

test("refuses what looks like x-orch, since it could be what keeps a service from running twice", () => {
  const problems = problemsOf(webFile("image: a\nx-orhc: {partition: at-most-one}", ""));
  expect(problems).toEqual(["4:5 services.web.x-orhc: x-orhc is no key of orch's"]);
});

test("warns about what it ignores or guesses", () => {
  const body = [
    "image: a${NOPE}b${NOPE}",
    "restart: always",
    "command: a && b",
    "environment: {V: 1.10, W: 0755}",
    "deploy: {replicas: 0, restart_policy: {condition: none}}",
  ].join("\n");
  expect(warningsOf(webFile(body, "version: '3'\nx-anchors: {}"))).toEqual([
    "3:12 services.web.image: the variable NOPE is not set: taken as empty",
    "4:14 services.web.restart: restart is ignored: deploy.restart_policy counts",
    "5:14 services.web.command: no shell runs: && is passed on as a plain word",
    "6:22 services.web.environment.V: 1.10 is a number, which becomes 1.1",
    "6:31 services.web.environment.W: 0755 is a number, which becomes 755",
    "7:24 services.web.deploy.replicas: with 0 replicas nothing will run",
    "8:10 version: version is obsolete and ignored",
  ]);
});

test("anchors, aliases and merge keys: the map's own keys win, then the first of the merged ones", () => {
  const text = `
x-a: &a {image: one, command: [a]}
x-b: &b {image: two, command: [b], working_dir: /b}
services:
  web:
    <<: [*a, *b]
    image: three
  job: *a
`;
  expect(parseText(text)).toMatchObject({
    spec: {
      services: [
        { name: "web", image: "three", command: ["a"], workingDir: "/b" },
        { name: "job", image: "one", workingDir: null },
      ],
    },
  });
});

test("a problem in an anchored map names its user's path and its own place", () => {
  expect(problemsOf("x-a: &a {image: a, restart: x}\nservices: {one: *a, two: {<<: *a}}")).toEqual([
    '1:29 services.one.restart: must not be "x"',
    '1:29 services.two.restart: must not be "x"',
  ]);
});
