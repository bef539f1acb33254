import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { assert } from "../lib/assert.ts";

/** orch's version, from the package that this file belongs to (in a checkout, or one level above dist/). */
export function orchVersion(): string {
  const here = import.meta.dirname;
  const file = [join(here, "../package.json"), join(here, "../../package.json")].find(existsSync);
  assert(file !== undefined, "orch runs from its package");
  const parsed: unknown = JSON.parse(readFileSync(file, "utf8"));
  const version: unknown =
    typeof parsed === "object" && parsed !== null ? Reflect.get(parsed, "version") : null;
  assert(typeof version === "string", "a package has a version");
  return version;
}
