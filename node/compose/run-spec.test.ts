import { expect, test } from "vitest";
import { parseCompose } from "./parse.ts";
import { invalidFault } from "./problem.ts";
import { runSpec, type RunOptions } from "./run-spec.ts";

const NONE: RunOptions = {
  image: null,
  name: null,
  replicas: null,
  ports: [],
  variables: [],
  cpus: null,
  memory: null,
  constraints: [],
  command: [],
  environment: { HOME: "/home/u" },
};

/** Each problem as `path: message`. */
function problemsOf(options: Partial<RunOptions>): readonly string[] {
  const outcome = runSpec({ ...NONE, ...options });
  if (outcome.kind === "parsed") return [];
  return outcome.problems.map(
    ({ path, line, column, message }) => `${path}@${line}:${column} ${message}`,
  );
}

test("flags make the job that a file with the same values makes", () => {
  const flags = runSpec({
    ...NONE,
    image: "reg:5000/team/shop:1",
    replicas: "3",
    ports: ["8080:80", "53/udp"],
    variables: ["A=1=2", "HOME", "NONE"],
    cpus: "0.5",
    memory: "64m",
    constraints: ["node.labels.zone == eu"],
    command: ["sh", "-c", "a b"],
  });
  const file = `
name: shop
services:
  main:
    image: reg:5000/team/shop:1
    command: [sh, -c, a b]
    environment: [A=1=2, HOME=/home/u]
    ports: ["8080:80", 53/udp]
    deploy:
      replicas: 3
      resources: {limits: {cpus: 0.5, memory: 64m}}
      placement: {constraints: [node.labels.zone == eu]}
`;
  expect(flags.kind).toBe("parsed");
  expect(flags).toEqual(parseCompose(file, { file: "f", defaultName: "", environment: {} }));
});

test.each([
  [{ image: "nginx" }, "nginx"],
  [{ image: `team/web@sha256:${"a".repeat(64)}` }, "web"],
  [{ command: ["/usr/bin/Sleep.sh", "5"] }, "sleep-sh"],
  [{ image: "nginx", name: "my_job" }, "my_job"],
] as const)("the name of the job of %j is %s", (options, name) => {
  expect(runSpec({ ...NONE, ...options })).toMatchObject({ spec: { name } });
});

test("without an image the command runs as a process", () => {
  expect(runSpec({ ...NONE, command: ["sleep", "5"] })).toMatchObject({
    spec: { services: [{ name: "main", image: null, driver: "process", command: ["sleep", "5"] }] },
  });
  expect(runSpec({ ...NONE, image: "a" })).toMatchObject({
    spec: { services: [{ driver: null, command: null }] },
  });
});

test("each problem names its flag", () => {
  expect(problemsOf({})).toEqual(["--image@0:0 there is neither an image nor a command"]);
  const wrong = { image: "a b", name: "A.B", replicas: "1.5", ports: ["0"], variables: ["=x"] };
  expect(
    problemsOf({ ...wrong, cpus: "-1", memory: "1m", constraints: ["node.role == x"] }),
  ).toEqual([
    '--image@0:0 "a b" is not the name of an image',
    '-e@0:0 "" is not a name for a variable',
    '-p@0:0 "0" is not a port or a pair of ports from 1 to 65535',
    '--replicas@0:0 must be a whole number, not the text "1.5"',
    '--cpus@0:0 "-1" is not a number of CPUs',
    '--memory@0:0 a memory limit must be at least 6m, not "1m"',
    "--constraint@0:0 node.role is not supported",
    '--name@0:0 "A.B" is not a name for a job or a service',
  ]);
  expect(problemsOf({ image: "a", replicas: "100001" })).toEqual([
    "--replicas@0:0 must be at most 100000, not 100001",
  ]);
  expect(problemsOf({ command: ["..."] })).toEqual(["--name@0:0 the job has no name"]);
});

test("a fault names the first problem, counts the others and holds all", () => {
  const place = {
    path: "services.web.image",
    line: 3,
    column: 5,
    message: "is bad",
    hint: "Mend it.",
  };
  expect(invalidFault("c.yaml", [place])).toEqual({
    code: "invalid",
    message: "c.yaml:3:5: services.web.image: is bad",
    hint: "Mend it.",
    details: { file: "c.yaml", problems: [place] },
  });
  const twice = invalidFault("c.yaml", [{ ...place, path: "" }, place]);
  expect(twice.message).toBe("c.yaml:3:5: is bad (and 1 more problem)");
  const flag = { ...place, path: "--memory", line: 0, column: 0 };
  expect(invalidFault("flags", [flag, flag, flag]).message).toBe(
    "--memory: is bad (and 2 more problems)",
  );
});

test("the fault of a file over its size is too-large", () => {
  const outcome = parseCompose("#".repeat(2_000_000), {
    file: "c.yaml",
    defaultName: "a",
    environment: {},
  });
  const problems = outcome.kind === "invalid" ? outcome.problems : [];
  expect(invalidFault("c.yaml", problems)).toMatchObject({
    code: "too-large",
    message: "c.yaml:1:1: the file is larger than 262144 bytes",
  });
});
