import { availableParallelism, homedir, hostname, totalmem } from "node:os";
import { describe, expect, it } from "vitest";
import { faultOf } from "../lib/errors.ts";
import { type NodeSettings, readSettings, SETTINGS } from "./config.ts";

function read(flags: Readonly<Record<string, readonly string[]>>, env = {}): NodeSettings {
  // A name, as not every machine's own is one.
  return readSettings({ name: ["n1"], ...flags }, env, null, false);
}

/** The fault of settings that are refused. */
function refusal(flags: Readonly<Record<string, readonly string[]>>, env = {}): string {
  try {
    read(flags, env);
  } catch (error) {
    const { code, message, details, hint } = faultOf(error);
    const flag = String(details["flag"]);
    return hint !== "" && message.startsWith(`--${flag}: `) ? `${code} ${flag}` : message;
  }
  return "no refusal";
}

describe("without a word", () => {
  it("a node has its defaults", () => {
    const root = process.getuid?.() === 0;
    expect(read({})).toEqual({
      name: "n1",
      listen: ["/ip4/0.0.0.0/tcp/7400"],
      advertise: [],
      discovery: true,
      api: { host: "127.0.0.1", port: 7401 },
      dataDir: root ? "/var/lib/orch" : `${homedir()}/.local/share/orch`,
      datacenter: "dc1",
      labels: {},
      driver: null,
      publish: "0.0.0.0",
      portRange: { first: 20_000, last: 32_000 },
      vote: true,
      worker: true,
      replaceAfterMs: 30_000,
      brakePercent: 50,
      reserveCpuMilli: 200,
      reserveMemoryMib: 256,
      ephemeral: false,
      told: { name: ["n1"] },
    });
    expect(SETTINGS.find(({ flag }) => flag === "name")?.fallback()).toBe(hostname());
  });
});

describe("flags", () => {
  it("say each of the settings", () => {
    const flags = {
      listen: ["127.0.0.1:1", "[::1]:2", "host.example:3", "/ip4/10.0.0.1/udp/4/quic-v1"],
      advertise: ["1.2.3.4:5"],
      "no-discovery": ["true"],
      api: ["[::1]:6"],
      "data-dir": ["/d"],
      datacenter: ["eu"],
      label: ["zone=a", "odd=x=y", "empty="],
      driver: ["process"],
      publish: ["10.0.0.1"],
      "port-range": ["1-65535"],
      "no-vote": ["true"],
      "no-worker": ["true"],
      brake: ["100"],
      "reserve-cpus": ["0.35"],
      "reserve-memory": ["100M"],
      ephemeral: ["true"],
    };
    expect(read(flags)).toMatchObject({
      listen: [
        "/ip4/127.0.0.1/tcp/1",
        "/ip6/::1/tcp/2",
        "/dns/host.example/tcp/3",
        "/ip4/10.0.0.1/udp/4/quic-v1",
      ],
      advertise: ["/ip4/1.2.3.4/tcp/5"],
      discovery: false,
      api: { host: "::1", port: 6 },
      dataDir: "/d",
      datacenter: "eu",
      labels: { zone: "a", odd: "x=y", empty: "" },
      driver: "process",
      publish: "10.0.0.1",
      portRange: { first: 1, last: 65_535 },
      vote: false,
      worker: false,
      brakePercent: 100,
      reserveCpuMilli: 350,
      reserveMemoryMib: 100,
      ephemeral: true,
    });
  });

  it("win over variables, and variables over defaults", () => {
    const env = { ORCH_DATACENTER: "env", ORCH_PUBLISH: "10.0.0.2", ORCH_PORT_RANGE: "5-6" };
    expect(read({ datacenter: ["flag"] }, env)).toMatchObject({
      datacenter: "flag",
      publish: "10.0.0.2",
      portRange: { first: 5, last: 6 },
      driver: null,
    });
  });

  it("count the last time when one is given twice", () => {
    expect(read({ datacenter: ["a", "b"] }).datacenter).toBe("b");
  });
});

describe("variables", () => {
  it("hold lists with commas where a flag may be repeated", () => {
    const env = { ORCH_LABEL: "a=1,b=2", ORCH_LISTEN: "127.0.0.1:1,127.0.0.1:2" };
    const { labels, listen } = read({}, env);
    expect(labels).toEqual({ a: "1", b: "2" });
    expect(listen).toHaveLength(2);
  });

  it("hold their commas where there is one value", () => {
    expect(read({}, { ORCH_DATA_DIR: "/srv/a,b" }).dataDir).toBe("/srv/a,b");
  });

  it("that are empty count as none", () => {
    expect(read({}, { ORCH_DATACENTER: "", ORCH_LABEL: "" })).toMatchObject({
      datacenter: "dc1",
      labels: {},
    });
  });

  it("switch on and off in full", () => {
    expect(read({}, { ORCH_NO_VOTE: "true", ORCH_NO_WORKER: "false" })).toMatchObject({
      vote: false,
      worker: true,
    });
    expect(refusal({}, { ORCH_NO_VOTE: "1" })).toBe("usage no-vote");
  });
});

describe("what is remembered for the next start", () => {
  it("is what was said, but not where the folder is and what was decided for this run", () => {
    const flags = { datacenter: ["eu"], "data-dir": ["/d"], ephemeral: ["true"] };
    expect(read(flags, { ORCH_LABEL: "a=1,b=2" }).told).toEqual({
      name: ["n1"],
      datacenter: ["eu"],
      label: ["a=1", "b=2"],
    });
  });
});

describe("a bad value names its flag", () => {
  it.each([
    ["name", ""],
    ["name", "-a"],
    ["name", "two words"],
    ["name", "a".repeat(64)],
    ["listen", "7400"],
    ["listen", "127.0.0.1"],
    ["listen", "127.0.0.1:70000"],
    ["listen", "::1:7400"],
    ["advertise", "host"],
    ["api", "127.0.0.1"],
    ["api", "0.0.0.0:7401"],
    ["api", "example.org:7401"],
    ["label", "zone"],
    ["label", "=eu"],
    ["driver", "podman"],
    ["port-range", "20000"],
    ["port-range", "0-10"],
    ["port-range", "10-9"],
    ["port-range", "1-65536"],
    ["no-vote", "yes"],
    ["no-worker", "no"],
    ["ephemeral", ""],
    ["brake", "0"],
    ["brake", "101"],
    ["brake", "50%"],
    ["reserve-cpus", "half"],
    ["reserve-cpus", "-1"],
    ["reserve-cpus", String(availableParallelism())],
    ["reserve-memory", "256"],
    ["reserve-memory", "1t"],
    ["reserve-memory", `${Math.floor(totalmem() / 1024 / 1024)}m`],
  ])("--%s %s", (flag, word) => {
    expect(refusal({ [flag]: [word] })).toBe(`usage ${flag}`);
  });
});
