import { z } from "zod";
import { unreachable } from "../../lib/assert.ts";
import { ERRORS } from "../../lib/errors.ts";
import type { ErrorCode } from "../../lib/errors.ts";
import type { AnswerShape, Route } from "./call.ts";
import { HEADERS } from "./input.ts";
import { SHAPES } from "./schemas.ts";

/** The OpenAPI 3.1 document, made from the same table and schemas that serve. */

type Json = Record<string, unknown>;

const REFERENCE = "#/components/schemas/";
/** What every route may answer with; open routes need no token. */
const COMMON_FAULTS: readonly ErrorCode[] = [
  "invalid",
  "unauthorized",
  "forbidden",
  "overloaded",
  "bug",
];

const shapes = z.registry<{ id: string }>();
for (const [id, schema] of Object.entries(SHAPES)) shapes.add(schema, { id });

/** The document for `routes`. `orchVersion` stands as the API's version. */
export function openapiDocument(routes: readonly Route[], orchVersion: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    Object.assign(paths[route.path] ?? {}, { [route.method.toLowerCase()]: operation(route) });
  }
  return {
    openapi: "3.1.1",
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    info: {
      title: "orch",
      version: orchVersion,
      summary: "The API of a node; every node answers for the whole cluster.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "http://127.0.0.1:7401", description: "A node on this machine" }],
    security: [{ adminToken: [] }],
    paths,
    components: {
      securitySchemes: {
        adminToken: {
          type: "http",
          scheme: "bearer",
          description: "The content of <data-dir>/admin.token. The unix socket needs none.",
        },
      },
      schemas: componentSchemas(),
    },
  };
}

function operation(route: Route): Json {
  return {
    operationId: route.id,
    summary: route.summary,
    ...(route.open ? { security: [] } : {}),
    parameters: [
      ...parametersOf(route.params, "path"),
      ...parametersOf(route.query, "query"),
      ...route.headers.map((name) => parameter(name, "header", HEADERS[name])),
    ],
    ...requestBodyOf(route),
    responses: responsesOf(route),
  };
}

function requestBodyOf({ body, maxBytes }: Route): Json {
  if (maxBytes !== null) {
    const bytes = { "application/octet-stream": { schema: { maxLength: maxBytes } } };
    return { requestBody: { required: true, content: bytes } };
  }
  if (body === null) return {};
  const json = { "application/json": { schema: jsonSchema(body) } };
  const required = !body.safeParse(undefined).success;
  return { requestBody: { required, content: json } };
}

function parametersOf(schema: z.ZodObject, place: "path" | "query"): Json[] {
  return Object.entries(schema.shape).map(([name, part]) => parameter(name, place, part));
}

function parameter(
  name: string,
  place: "path" | "query" | "header",
  schema: z.core.$ZodType,
): Json {
  const { description, ...rest } = jsonSchema(schema);
  return {
    name,
    in: place,
    required: place === "path",
    ...(description === undefined ? {} : { description }),
    schema: rest,
  };
}

const ANSWER_HEADERS: Json = {
  "Orch-Index": {
    description: "The log index that the answer reflects",
    schema: { type: "integer", minimum: 0 },
  },
  "Orch-Manager": { description: "The manager's node id", schema: { type: "string" } },
};

function responsesOf(route: Route): Json {
  const good: Json = {
    description: route.summary,
    headers: ANSWER_HEADERS,
    content: content(route.answer),
  };
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set([...COMMON_FAULTS, ...route.faults])) {
    if (route.open && code === "unauthorized") continue;
    const { status } = ERRORS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const responses: Json = { "200": good };
  for (const [status, codes] of [...byStatus].toSorted(([a], [b]) => a - b)) {
    responses[String(status)] = {
      description: `Fault: ${codes.join(", ")}`,
      content: { "application/json": { schema: reference("Fault") } },
    };
  }
  if (route.id === "getReadiness") responses["503"] = { ...good, description: "Not ready yet" };
  return responses;
}

function content(answer: AnswerShape): Json {
  switch (answer.kind) {
    case "one":
      return { "application/json": { schema: reference(answer.shape) } };
    case "list":
      return { "application/json": { schema: { type: "array", items: reference(answer.shape) } } };
    case "lines":
      return { "application/x-ndjson": { schema: reference(answer.shape) } };
    case "events":
      // OpenAPI 3.1 has no way to describe the data of an event: the text says which shape it has.
      return {
        "text/event-stream": {
          schema: {
            type: "string",
            description: `Each event's data is a ${answer.shape} as JSON, its id the log index`,
          },
        },
      };
    case "text":
      return { "text/plain": { schema: { type: "string" } } };
    case "document":
      return { "application/json": { schema: { type: "object" } } };
    default:
      return unreachable(answer);
  }
}

function reference(shape: string): Json {
  return { $ref: `${REFERENCE}${shape}` };
}

function componentSchemas(): Json {
  const { schemas } = z.toJSONSchema(shapes, {
    uri: (id) => `${REFERENCE}${id}`,
    io: "output",
    override: ({ jsonSchema: schema }) => tidy(schema, "output"),
  });
  return Object.fromEntries(
    Object.entries(schemas).map(([id, { $id: _id, $schema: _schema, ...rest }]) => [id, rest]),
  );
}

/** One schema of what a client sends. */
function jsonSchema(schema: z.core.$ZodType): Json {
  const { $schema: _schema, ...rest } = z.toJSONSchema(schema, {
    io: "input",
    override: ({ jsonSchema: part }) => tidy(part, "input"),
  });
  return rest;
}

/** Takes out what zod says more exactly than a reader of the document needs. */
function tidy(schema: z.core.JSONSchema.BaseSchema, io: "input" | "output"): void {
  if (schema.format === "date-time") delete schema.pattern;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  // Answers may get further members in a later version.
  if (io === "output" && schema.additionalProperties === false) delete schema.additionalProperties;
}
