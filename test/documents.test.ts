import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";

/** What the documents say that a machine can check. */

const root = join(import.meta.dirname, "..");

function read(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

const documents = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];
const records = readdirSync(join(root, "docs/decisions")).toSorted();

/** GitHub's name for a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(/\s/g, "-");
}

function anchorsOf(file: string): string[] {
  return [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => anchorOf(heading));
}

test("the version has an entry in the changelog, in three parts", () => {
  const { version } = JSON.parse(read("package.json"));
  const entries = read("CHANGELOG.md").split(/^## /m).slice(1);
  const entry = entries.find((text) => text.startsWith(`${version}\n`));
  expect(entry, `## ${version}`).toBeDefined();
  expect([...(entry ?? "").matchAll(/^### (.*)$/gm)].map(([, name]) => name)).toEqual([
    "Safety and performance",
    "Features",
    "Internals",
  ]);
});

test.each(documents)("%s: its links lead somewhere", (file) => {
  const broken = [...read(file).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
    if (/^https?:/.test(link)) return [];
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? file : join(dirname(file), path);
    if (!existsSync(join(root, target))) return [link];
    return anchor === undefined || anchorsOf(target).includes(anchor) ? [] : [link];
  });
  expect(broken).toEqual([]);
});

test.each(documents)("%s: the files and folders it names in code style exist", (file) => {
  const named = [...read(file).matchAll(/`((?:[a-z0-9-]+\/)+(?:[a-z0-9.-]+\.(?:ts|md|txt))?)`/g)];
  const folders = ["", "node", "node/libp2p", "state", "consensus", "runtime", "test"];
  const missing = named
    .map(([, path = ""]) => path)
    .filter((path) => !folders.some((folder) => existsSync(join(root, folder, path))));
  expect(missing).toEqual([]);
});

describe("commands", () => {
  /** `orch x` and `orch x y` as the program knows them. */
  const program = read("cli/program.ts");
  const known = new Set(
    [...program.matchAll(/\.command\("([a-z]+)"|\["(init|join|start)"/g)].map(
      ([, name, node]) => name ?? node,
    ),
  );
  const groups = ["node", "job", "config", "cluster"];

  test.each(documents)("%s: those that it shows exist", (file) => {
    const shown = [...read(file).matchAll(/(?:^ {4}|`)orch ([a-z]+)(?: ([a-z]+))?/gm)];
    const unknown = shown.filter(([, name = "", second]) => {
      if (!known.has(name)) return true;
      return groups.includes(name) && second !== undefined && !known.has(second);
    });
    expect(unknown.map(([text]) => text.trim())).toEqual([]);
  });

  test("npm scripts that the documents name exist", () => {
    const { scripts } = JSON.parse(read("package.json"));
    const named = documents.flatMap((file) =>
      [...read(file).matchAll(/npm (?:run ([a-z:]+)|(start|test)\b)/g)].map(
        ([, script, short]) => script ?? short,
      ),
    );
    expect(named.filter((name) => name === undefined || !Object.hasOwn(scripts, name))).toEqual([]);
  });
});

describe("decision records", () => {
  test("are numbered without a gap", () => {
    expect(records.map((name) => Number(name.slice(0, 4)))).toEqual(records.map((_, i) => i + 1));
  });

  test.each(records)("%s says context, decision and consequences", (name) => {
    const text = read(join("docs/decisions", name));
    expect(text).toMatch(new RegExp(`^# ${name.slice(0, 4)}: \\S`));
    const headings = [...text.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual(["Context", "Decision", "Consequences"]);
  });
});

test("docs/raft.md: the tests and scenarios that it names exist", () => {
  const text = read("docs/raft.md");
  const missing = [...text.matchAll(/`([\w./-]+\.ts)` › ((?:"[^"]+"(?:, )?)+)/g)].flatMap(
    ([, file = "", names = ""]) => {
      const source = read(file);
      return [...names.matchAll(/"([^"]+)"/g)]
        .filter(([, name = ""]) => !source.includes(`"${name}"`))
        .map(([name]) => `${file}: ${name}`);
    },
  );
  expect(missing).toEqual([]);
  expect([...text.matchAll(/›/g)].length).toBeGreaterThan(50);
  const scenarios = readdirSync(join(root, "test/scenarios"));
  const named = [...text.matchAll(/`([a-z-]+\.txt)`/g)].map(([, name = ""]) => name);
  expect(named.filter((name) => !scenarios.includes(name))).toEqual([]);
});

test("the two short documents are short", () => {
  expect(read("README.md").split("\n").length).toBeLessThanOrEqual(120);
  expect(read("ARCHITECTURE.md").split("\n").length).toBeLessThanOrEqual(110);
});
