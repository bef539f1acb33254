import { expect, test } from "vitest";
import { z } from "zod";
import { openapiDocument } from "./openapi.ts";
import { ROUTES } from "./routes.ts";

/** What OpenAPI 3.1 demands of the parts that this document uses. */
const schemaObject = z.record(z.string(), z.unknown());
const mediaTypes = z.record(z.string(), z.strictObject({ schema: schemaObject }));
const operation = z.strictObject({
  operationId: z.string().regex(/^[a-z][A-Za-z]+$/),
  summary: z.string().min(1),
  security: z.array(z.record(z.string(), z.array(z.string()))).optional(),
  parameters: z.array(
    z.strictObject({
      name: z.string(),
      in: z.enum(["path", "query", "header"]),
      required: z.boolean(),
      description: z.string().optional(),
      schema: schemaObject,
    }),
  ),
  requestBody: z.strictObject({ required: z.boolean(), content: mediaTypes }).optional(),
  responses: z.record(
    z.string().regex(/^[2-5]\d\d$/),
    z.strictObject({
      description: z.string().min(1),
      headers: z
        .record(z.string(), z.strictObject({ description: z.string(), schema: schemaObject }))
        .optional(),
      content: mediaTypes,
    }),
  ),
});
const openapi = z.strictObject({
  openapi: z.string().regex(/^3\.1\.\d$/),
  jsonSchemaDialect: z.url(),
  info: z.strictObject({
    title: z.string(),
    version: z.string(),
    summary: z.string(),
    license: z.strictObject({ name: z.string(), identifier: z.string() }),
  }),
  servers: z.array(z.strictObject({ url: z.url(), description: z.string() })),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  paths: z.record(
    z.string().startsWith("/"),
    z.partialRecord(z.enum(["get", "put", "post", "delete"]), operation),
  ),
  components: z.strictObject({
    securitySchemes: z.record(z.string(), schemaObject),
    schemas: z.record(z.string().regex(/^[A-Za-z0-9._-]+$/), schemaObject),
  }),
});

const raw = openapiDocument(ROUTES, "1.2.3");
const text = JSON.stringify(raw);

test("the document is one of OpenAPI 3.1", () => {
  const document = openapi.parse(JSON.parse(text));
  expect(document.info.version).toBe("1.2.3");
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
  const ids = operations.map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
});

test("every route is in it, and nothing else", () => {
  const document = openapi.parse(JSON.parse(text));
  const listed = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(listed.toSorted()).toEqual(
    ROUTES.map(({ method, path }) => `${method} ${path}`).toSorted(),
  );
});

test("the parameters of a path are those in its braces", () => {
  const document = openapi.parse(JSON.parse(text));
  for (const [path, methods] of Object.entries(document.paths)) {
    const braces = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    for (const { parameters } of Object.values(methods)) {
      const declared = parameters.filter((parameter) => parameter.in === "path");
      expect(declared.map(({ name }) => name)).toEqual(braces);
      expect(declared.every(({ required }) => required)).toBe(true);
    }
  }
});

test("every reference leads somewhere, and every shape is used", () => {
  const document = openapi.parse(JSON.parse(text));
  const names = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, target = ""]) => {
    expect(target).toMatch(/^#\/components\/schemas\/\w+$/);
    return target.replace("#/components/schemas/", "");
  });
  const known = Object.keys(document.components.schemas);
  expect(names.filter((name) => !known.includes(name))).toEqual([]);
  // An event's shape is named in words only: the format cannot describe what an event stream holds.
  expect(known.filter((name) => !names.includes(name))).toEqual(["Event"]);
  expect(text).not.toContain("$defs");
  expect(text).not.toContain('"$id"');
});

test("a write documents its headers, an open route no token", () => {
  const document = openapi.parse(JSON.parse(text));
  const put = document.paths["/v1/jobs/{name}"]?.put;
  expect(put?.parameters.map(({ name }) => name)).toEqual([
    "name",
    "timeout",
    "orch-timeout",
    "idempotency-key",
    "if-match",
  ]);
  expect(put?.requestBody?.required).toBe(true);
  expect(Object.keys(put?.responses ?? {})).toEqual([
    "200",
    "400",
    "401",
    "403",
    "409",
    "412",
    "413",
    "422",
    "429",
    "500",
    "503",
    "504",
  ]);
  expect(document.paths["/v1/jobs/{name}/stop"]?.post?.requestBody?.required).toBe(false);
  expect(document.paths["/healthz"]?.get?.security).toEqual([]);
  expect(document.paths["/readyz"]?.get?.security).toBeUndefined();
});

test("raw bytes are documented with their bound and the headers that guard them", () => {
  const document = openapi.parse(JSON.parse(text));
  const put = document.paths["/v1/configs/{name}"]?.put;
  expect(put?.requestBody).toEqual({
    required: true,
    content: { "application/octet-stream": { schema: { maxLength: 512_000 } } },
  });
  const headers = put?.parameters.filter((parameter) => parameter.in === "header");
  expect(headers?.map(({ name }) => name)).toEqual([
    "orch-timeout",
    "idempotency-key",
    "if-match",
    "if-none-match",
  ]);
});
