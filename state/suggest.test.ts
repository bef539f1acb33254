import { expect, it } from "vitest";
import { suggest } from "./suggest.ts";

it.each([
  ["wbe", ["api", "web"], "web"],
  ["WEB", ["api", "web"], "web"],
  ["frontned", ["frontend", "backend"], "frontend"],
  ["fronten", ["front", "frontend"], "frontend"],
  ["website", ["api", "web"], null],
  ["", ["api"], null],
  ["x", [], null],
])("for %s among %j suggests %s", (name, candidates, suggested) => {
  expect(suggest(name, candidates)).toBe(suggested);
});
