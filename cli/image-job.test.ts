import { expect, test } from "vitest";
import { parse } from "yaml";
import { imageSubmission } from "./image-job.ts";
import type { ImageJob } from "./image-job.ts";

const ALONE: ImageJob = {
  image: "registry:5000/team/web:1.2@sha256:aa",
  name: null,
  replicas: null,
  publish: [],
  env: [],
  cpus: null,
  memory: null,
  constraints: [],
  command: [],
};

test("an image alone becomes a file with one service, named like the image", () => {
  const { compose, defaultName } = imageSubmission(ALONE);
  expect(defaultName).toBe("web");
  expect(parse(compose)).toEqual({ name: "web", services: { web: { image: ALONE.image } } });
});

test("every flag finds its place, and dollar signs survive", () => {
  const { compose } = imageSubmission({
    ...ALONE,
    name: "shop",
    replicas: "3",
    publish: ["8080:80", "9000"],
    env: ["A=$1"],
    cpus: "0.5",
    memory: "64m",
    constraints: ["node.labels.disk==ssd"],
    command: ["sh", "-c", "echo $HOME"],
  });
  const resources = { cpus: "0.5", memory: "64m" };
  expect(parse(compose)).toEqual({
    name: "shop",
    services: {
      shop: {
        image: ALONE.image,
        command: ["sh", "-c", "echo $$HOME"],
        ports: ["8080:80", "9000"],
        environment: ["A=$$1"],
        deploy: {
          replicas: 3,
          resources: { limits: resources, reservations: resources },
          placement: { constraints: ["node.labels.disk==ssd"] },
        },
      },
    },
  });
});

test("a count that is none is refused here, where the flag is known", () => {
  expect(() => imageSubmission({ ...ALONE, replicas: "many" })).toThrow(/--replicas "many"/);
});
