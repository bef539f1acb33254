import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { faultOf } from "../lib/errors.ts";
import { type NodeSettings, readSettings, SETTINGS_FILE } from "./config.ts";

const folder = mkdtempSync(join(tmpdir(), "orch-config-"));
const file = join(folder, "orch.yaml");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function read(
  content: string,
  flags: Readonly<Record<string, readonly string[]>> = {},
  env: Readonly<Record<string, string>> = {},
): NodeSettings {
  writeFileSync(file, content);
  return readSettings({ name: ["n1"], ...flags }, env, file, false);
}

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    const { code, message } = faultOf(error);
    return `${code} ${message}`;
  }
  return "no refusal";
}

describe("the file", () => {
  it("counts after flags and variables, and before the defaults", () => {
    const content = "datacenter: file\npublish: 10.0.0.3\nport-range: 7-8\n";
    const flags = { datacenter: ["flag"] };
    expect(
      read(content, flags, { ORCH_PUBLISH: "10.0.0.2", ORCH_DATACENTER: "env" }),
    ).toMatchObject({
      datacenter: "flag",
      publish: "10.0.0.2",
      portRange: { first: 7, last: 8 },
      driver: null,
    });
  });

  it("holds lists, single words, numbers and switches", () => {
    const content =
      "label: [zone=eu, disk=ssd]\nlisten: 127.0.0.1:1\nreserve-cpus: 0.5\nno-vote: true\n";
    expect(read(content)).toMatchObject({
      labels: { zone: "eu", disk: "ssd" },
      listen: ["/ip4/127.0.0.1/tcp/1"],
      reserveCpuMilli: 500,
      vote: false,
    });
  });

  it("may be empty", () => {
    expect(read("# nothing yet\n").datacenter).toBe("dc1");
  });

  it.each([
    ["of another shape", "- name", "is not a map of settings"],
    ["that is no YAML", "a: [", "cannot read"],
    ["with a setting that nobody knows", "nmae: web-1", 'unknown setting "nmae"'],
    ["with a setting without a value", "datacenter:", '"datacenter" is no text'],
    ["with a map for a value", "label:\n  zone: eu", '"label" is no text'],
    ["with a bad value", "no-vote: maybe", "--no-vote"],
  ])("%s is refused", (_what, content, message) => {
    const said = refusal(() => read(content));
    expect(said).toMatch(/^usage /);
    expect(said).toContain(message);
  });

  it("that is not there is refused by its name", () => {
    const said = refusal(() => readSettings({}, {}, join(folder, "none.yaml"), false));
    expect(said).toMatch(/^usage --config: cannot read .*none\.yaml/);
  });
});

describe("a node that ran before", () => {
  const flags = { name: ["n1"], "data-dir": ["/nowhere", folder] };

  it("goes on with what it was told, unless it is told otherwise", () => {
    const told = { datacenter: ["eu"], label: ["zone=a"], name: ["old"] };
    writeFileSync(join(folder, SETTINGS_FILE), JSON.stringify(told));
    const env = { ORCH_LABEL: "zone=b" };
    expect(readSettings(flags, env, null, true)).toMatchObject({
      name: "n1",
      datacenter: "eu",
      labels: { zone: "b" },
      dataDir: folder,
      told: { name: ["n1"], datacenter: ["eu"], label: ["zone=b"] },
    });
    expect(readSettings(flags, env, null, false).datacenter).toBe("dc1");
  });

  it("has its defaults where it was told nothing, and says when its memory cannot be read", () => {
    rmSync(join(folder, SETTINGS_FILE), { force: true });
    expect(readSettings(flags, {}, null, true).datacenter).toBe("dc1");
    writeFileSync(join(folder, SETTINGS_FILE), "{");
    expect(refusal(() => readSettings(flags, {}, null, true))).toContain(SETTINGS_FILE);
  });
});
