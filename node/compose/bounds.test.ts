import {
  array,
  assert,
  constantFrom,
  dictionary,
  jsonValue,
  letrec,
  oneof,
  property,
  string,
  uint8Array,
} from "fast-check";
import { describe, expect, test } from "vitest";
import { parseText, problemsOf } from "./testing.ts";

/** The distinct paths of a file's problems. */
function paths(text: string): readonly string[] {
  const outcome = parseText(text);
  return outcome.kind === "parsed" ? [] : [...new Set(outcome.problems.map(({ path }) => path))];
}

function levels(line: (level: number) => string): string {
  return Array.from({ length: 30 }, (_, level) => line(level)).join("\n");
}

function servicesFile(count: number): string {
  const services = Array.from({ length: count }, (_, at) => `  s${String(at)}: {image: a}`);
  return `services:\n${services.join("\n")}`;
}

test("a file over 256 KiB is refused, one of just 256 KiB is read", () => {
  const file = "services: {web: {image: a}}\n#";
  const room = 256 * 1024 - file.length;
  expect(paths(file + "x".repeat(room))).toEqual([]);
  expect(paths(file + "x".repeat(room + 1))).toEqual(["(file size)"]);
  expect(paths(file + "é".repeat(room / 2 + 1))).toEqual(["(file size)"]);
});

test.each([
  [
    "nested aliases",
    `x-0: &a0 [lol]\n${levels((at) => `x-${at + 1}: &a${at + 1} [*a${at}, *a${at}, *a${at}]`)}`,
  ],
  [
    "nested merges",
    `x-0: &a0 {k: &v ${"y".repeat(50_000)}}\n${levels((at) => `x-${at + 1}: &a${at + 1} {<<: *a${at}, ${at}a: *a${at}, ${at}b: *a${at}}`)}`,
  ],
  ["deep flow lists", "[".repeat(500_000)],
  ["deep block lists", "- ".repeat(500_000)],
  ["deep maps", "{a: ".repeat(200_000)],
  ["very many items", `[${"1,".repeat(300_000)}]`],
  ["very many directives", "%a b\n".repeat(1000)],
])("%s are refused as too large", (_name, text) => {
  expect(paths(text)).toEqual(["(file size)"]);
});

test("variables that grow are refused as too large", () => {
  const text = `x-a: [${"$BIG,".repeat(100)}]\nservices: {web: {image: a}}`;
  const outcome = parseText(text, { BIG: "x".repeat(100_000) });
  expect(outcome).toMatchObject({ problems: [{ path: "(file size)", column: 212 }] });
});

test("syntax errors without end are not all looked at", () => {
  expect(problemsOf("]\n".repeat(130_000))).toEqual([
    '1:1 : Unexpected flow-seq-end token in YAML document: "]"',
  ]);
  expect(problemsOf("---\n".repeat(60_000))).toEqual([
    "2:1 : the file holds more than one YAML document",
  ]);
});

test("many distinct keys take no quadratic time, and their problems stay bounded", () => {
  const lines = problemsOf(Array.from({ length: 30_000 }, (_, at) => `k${at}: `).join("\n"));
  expect(lines).toHaveLength(1001);
  expect(lines.at(-1)).toContain("and 29001 more problems");
});

test("1,000 services are read, 1,001 are refused", () => {
  expect(problemsOf(servicesFile(1000))).toEqual([]);
  expect(problemsOf(servicesFile(1001))).toEqual([
    "2:3 services: there are 1001 services, at most 1000 may be",
  ]);
});

describe("never throws", () => {
  const pieces = constantFrom(..."-:{}[]&*!|>'\"%@`?, \n\t#$a1~<".split(""));
  const anyText = oneof(
    string({ unit: "binary", maxLength: 200 }),
    uint8Array({ maxLength: 300 }).map((bytes) => new TextDecoder().decode(bytes)),
    array(pieces, { maxLength: 120 }).map((all) => all.join("")),
  );

  test("on any text: a random one is never a job", () => {
    assert(
      property(anyText, (text) => {
        expect(parseText(text).kind).toBe("invalid");
      }),
      { numRuns: 3000 },
    );
  });

  const keys = constantFrom(
    ..."image command entrypoint ports volumes environment deploy restart x-orch resources".split(
      " ",
    ),
    ..."stop_grace_period replicas limits memory cpus target published type source << __proto__".split(
      " ",
    ),
  );
  const values = constantFrom(
    ..."80 1g a:/b /a:/b ${X:-y} $ on-failure:1 5s x=y volume constructor".split(" "),
  );
  const tree = letrec((tie) => ({
    node: oneof(
      { maxDepth: 5 },
      oneof(jsonValue({ maxDepth: 1 }), values),
      array(tie("node"), { maxLength: 3 }),
      dictionary(keys, tie("node"), { maxKeys: 4 }),
    ),
  })).node;

  test("on any structure under the keys it reads; what it takes over is in bounds", () => {
    let taken = 0;
    assert(
      property(dictionary(keys, tree, { maxKeys: 4 }), (service) => {
        const web = { command: "x", ...service };
        const outcome = parseText(JSON.stringify({ services: { web }, volumes: { a: null } }));
        const specs = outcome.kind === "parsed" ? outcome.spec.services : [];
        const problems = outcome.kind === "parsed" ? 1 : outcome.problems.length;
        expect(problems).toBeGreaterThan(0);
        taken += specs.length;
        expect(specs.every(({ image, driver }) => image !== null || driver === "process")).toBe(
          true,
        );
        expect(
          specs.every(({ replicas, reservations }) =>
            [replicas, ...Object.values(reservations)].every(Number.isSafeInteger),
          ),
        ).toBe(true);
      }),
      { numRuns: 2000 },
    );
    expect(taken).toBeGreaterThan(20);
  });
});
