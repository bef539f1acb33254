import * as fc from "fast-check";
import { expect, test } from "vitest";
import { OrchError } from "../../lib/errors.ts";
import type { Fault } from "../../lib/errors.ts";
import { submissionOf, submissionSchema } from "./submission.ts";

const COMPOSE = "name: shop\nservices:\n  web:\n    image: nginx\n";

test("the URL's name wins over the file's, which wins over the default", () => {
  expect(submissionOf("other", { compose: COMPOSE }).spec.name).toBe("other");
  expect(submissionOf(null, { compose: COMPOSE, defaultName: "folder" }).spec.name).toBe("shop");
  const nameless = { compose: "services:\n  web:\n    image: nginx\n", defaultName: "folder" };
  expect(submissionOf(null, nameless).spec.name).toBe("folder");
});

test("variables come from the body", () => {
  const compose = "services:\n  web:\n    image: nginx:${TAG}\n";
  const { spec } = submissionOf("a", { compose, environment: { TAG: "1.2" } });
  expect(spec.services[0]?.image).toBe("nginx:1.2");
});

test("every problem of a file is told, with line and column", () => {
  const compose = "services:\n  web:\n    image: nginx\n    buld: .\n    replica: 2\n";
  const reason = refusalOf(() => submissionOf("a", { compose, file: "my.yaml" }));
  expect(reason?.code).toBe("invalid");
  expect(reason?.message).toContain("my.yaml:4:5");
  expect(reason?.details["problems"]).toMatchObject([
    { line: 4, column: 5 },
    { line: 5, column: 5 },
  ]);
});

/** The fault that it throws; null when it does not throw. Anything else that it throws is a failure. */
function refusalOf(work: () => unknown): Fault | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof OrchError) return error.fault;
    throw error;
  }
}

test("what a Compose file parses to is also accepted as a spec", () => {
  const compose = `
services:
  web:
    image: nginx
    command: ["a", ""]
    ports: ["8080:80", "53/udp"]
    volumes: ["cache:/cache", "/etc:/host:ro"]
    environment: { A: "1" }
    deploy:
      replicas: 3
      placement: { constraints: ["node.labels.disk == ssd"] }
volumes:
  cache: {}
`;
  const { spec } = submissionOf("shop", { compose });
  expect(submissionSchema.parse({ spec })).toEqual({ spec });
});

const good = submissionOf("shop", { compose: COMPOSE }).spec;
const [web] = good.services;

test.each([
  ["nothing", {}],
  ["both", { compose: COMPOSE, spec: good }],
  ["an unknown member", { compose: COMPOSE, nmae: "x" }],
  ["a list", []],
  ["a bad name", { spec: { ...good, name: "A.b" } }],
  ["no services", { spec: { ...good, services: [] } }],
  ["a service twice", { spec: { ...good, services: [web, web] } }],
  ["half a replica", { spec: { ...good, services: [{ ...web, replicas: 1.5 }] } }],
  ["too many replicas", { spec: { ...good, services: [{ ...web, replicas: 1e9 }] } }],
  ["neither image nor command", { spec: { ...good, services: [{ ...web, image: null }] } }],
  ["an unsafe number", { spec: { ...good, services: [{ ...web, stopGraceMs: 1e300 }] } }],
])("%s is refused", (_what, body) => {
  expect(submissionSchema.safeParse(body).success).toBe(false);
});

test("no body makes the schema or the parser throw anything but a fault", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue(),
        fc.record({ compose: fc.string() }),
        fc.record({ compose: fc.constant(COMPOSE), environment: fc.jsonValue() }),
        fc.record({ spec: fc.jsonValue() }),
        fc.record({ spec: fc.record({ name: fc.constant("a"), services: fc.jsonValue() }) }),
      ),
      (body) => {
        const parsed = submissionSchema.safeParse(body);
        const reason = parsed.success ? refusalOf(() => submissionOf("a", parsed.data)) : null;
        expect(["invalid", "too-large", undefined]).toContain(reason?.code);
      },
    ),
  );
});
