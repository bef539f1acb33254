import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TestCluster } from "../test/fixtures/cluster.ts";
import { configBytes, MAX_CONFIG_BYTES, MAX_CONFIGS, MAX_CONFIGS_BYTES } from "./config.ts";

function code(outcome: ReturnType<TestCluster["apply"]>): string {
  return outcome.kind === "refused"
    ? outcome.fault.code
    : `done ${outcome.changed} ${outcome.version}`;
}

class Configs extends TestCluster {
  set(name: string, data: string, ifVersion: number | null = null, key: string | null = null) {
    return code(this.apply({ kind: "config-put", name, data, ifVersion }, key));
  }

  remove(name: string, ifVersion: number | null = null) {
    return code(this.apply({ kind: "config-remove", name, ifVersion }));
  }

  restore(name: string, data: string, version: number) {
    return code(this.apply({ kind: "config-restore", name, data, version }));
  }
}

function base64url(bytes: number): string {
  return "A".repeat(Math.ceil((bytes * 4) / 3));
}

describe("a config", () => {
  it("has a version that rises with each put, also of the same content", () => {
    const cluster = new Configs();
    expect(cluster.set("app", "YQ")).toBe("done true 1");
    cluster.now += 5;
    expect(cluster.set("app", "YQ")).toBe("done true 2");
    expect(cluster.set("db", "")).toBe("done true 1");
    expect(cluster.state.configs.get("app")).toEqual({
      name: "app",
      version: 2,
      data: "YQ",
      createdAtMs: 1_000_000,
      updatedAtMs: 1_000_005,
      modifiedIndex: 2,
    });
    expect(cluster.events.map(({ type, config, message }) => [type, config, message])).toEqual([
      ["config", "app", "version 1 was set"],
      ["config", "app", "version 2 was set"],
      ["config", "db", "version 1 was set"],
    ]);
  });

  it("is compared and set: what is refused changes nothing and says both versions", () => {
    const cluster = new Configs();
    expect(cluster.set("app", "YQ", 1)).toBe("version-mismatch");
    expect(cluster.set("app", "YQ", 0)).toBe("done true 1");
    const hash = cluster.state.hash();
    expect(cluster.set("app", "Yg", 0)).toBe("version-mismatch");
    expect(cluster.set("app", "Yg", 2)).toBe("version-mismatch");
    expect(cluster.remove("app", 2)).toBe("version-mismatch");
    expect(cluster.state.hash()).toBe(hash);
    expect(cluster.apply({ kind: "config-remove", name: "app", ifVersion: 2 })).toMatchObject({
      fault: {
        message: 'config "app" is at version 1, not 2',
        details: { config: "app", expected: 2, actual: 1 },
      },
    });
    expect(cluster.set("app", "Yg", 1)).toBe("done true 2");
    expect(cluster.state.configs.get("app")?.data).toBe("Yg");
  });

  it("never has a version twice under its name, whatever was removed in between", () => {
    const step = fc.record({
      kind: fc.constantFrom("set", "set", "remove", "restore"),
      name: fc.constantFrom("a", "b"),
      version: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const cluster = new Configs();
        const last = new Map<string, number>();
        for (const { kind, name, version } of steps) {
          if (kind === "remove") cluster.remove(name);
          const done =
            kind === "set"
              ? cluster.set(name, "")
              : kind === "restore"
                ? cluster.restore(name, "", version)
                : "";
          if (!done.startsWith("done")) continue;
          const given = cluster.state.configs.get(name)?.version ?? 0;
          expect(done).toBe(`done true ${given}`);
          expect(given).toBeGreaterThan(last.get(name) ?? 0);
          last.set(name, given);
        }
      }),
    );
  });

  it("is removed once; the next of its name goes on above it", () => {
    const cluster = new Configs();
    expect(cluster.remove("app")).toBe("not-found");
    expect(cluster.remove("app", 0)).toBe("not-found");
    expect(cluster.remove("app", 3)).toBe("version-mismatch");
    for (let i = 0; i < 3; i++) cluster.set("app", "YQ");
    expect(cluster.remove("app", 3)).toBe("done true null");
    expect(cluster.events.at(-1)).toMatchObject({ config: "app", message: "removed at version 3" });
    expect(cluster.remove("app")).toBe("not-found");
    expect(cluster.set("app", "YQ", 3)).toBe("version-mismatch");
    expect(cluster.set("app", "YQ", 0)).toBe("done true 4");
  });

  it("is set once under a key", () => {
    const cluster = new Configs();
    expect(cluster.set("app", "YQ", null, "k")).toBe("done true 1");
    expect(cluster.set("app", "YQ", null, "k")).toBe("done true 1");
    expect(cluster.set("app", "Yg", null, "k")).toBe("conflict");
    expect(cluster.state.configs.get("app")).toMatchObject({ version: 1, data: "YQ" });
  });

  it("shows in the hash: its content, its removal, its restoration", () => {
    const hashes = [
      ["YQ", "set"],
      ["Yg", "set"],
      ["YQ", "restore"],
    ].map(([data = "", how]) => {
      const cluster = new Configs();
      if (how === "set") cluster.set("app", data);
      else cluster.restore("app", data, 7);
      const before = cluster.state.hash();
      cluster.remove("app");
      expect(cluster.state.hash()).not.toBe(before);
      return before;
    });
    expect(new Set(hashes).size).toBe(3);
  });
});

describe("a config is refused", () => {
  it.each(["", "A", "a b", "-a", "a.b", "a/b", "ä", "x".repeat(64)])(
    "under the name %j",
    (name) => {
      const cluster = new Configs();
      expect(cluster.set(name, "")).toBe("invalid");
      expect(cluster.restore(name, "", 1)).toBe("invalid");
      expect(cluster.state.configs.size).toBe(0);
    },
  );

  it.each(["a", "aaaaa", "YQ==", "a+b/", "a b ", "YQ\n"])("with the data %j", (data) => {
    expect(new Configs().set("app", data)).toBe("invalid");
  });

  it("above its bound, and not at it", () => {
    const cluster = new Configs();
    expect(configBytes(base64url(MAX_CONFIG_BYTES))).toBe(MAX_CONFIG_BYTES);
    expect(cluster.set("app", base64url(MAX_CONFIG_BYTES))).toBe("done true 1");
    expect(cluster.set("app", base64url(MAX_CONFIG_BYTES + 1))).toBe("too-large");
    expect(cluster.restore("db", base64url(MAX_CONFIG_BYTES + 1), 1)).toBe("too-large");
  });

  it("when all of them together are too large; one that is replaced does not count", () => {
    const cluster = new Configs();
    const whole = base64url(MAX_CONFIG_BYTES);
    const count = Math.floor(MAX_CONFIGS_BYTES / MAX_CONFIG_BYTES);
    for (let i = 0; i < count; i++) cluster.set(`c${i}`, whole);
    expect(cluster.set("more", whole)).toBe("too-large");
    expect(cluster.restore("more", whole, 1)).toBe("too-large");
    expect(cluster.set("c0", whole)).toBe("done true 2");
    expect(cluster.set("small", "YQ")).toBe("done true 1");
    cluster.remove("c1");
    expect(cluster.set("more", whole)).toBe("done true 2");
    // It hashes 64 MiB.
  }, 30_000);

  it("when there are too many", () => {
    const cluster = new Configs();
    for (let i = 0; i < MAX_CONFIGS; i++) {
      cluster.state.apply(i + 1, {
        command: { kind: "config-put", name: `c${i}`, data: "", ifVersion: null },
        timeMs: 1,
        key: null,
        since: null,
      });
    }
    const put = (name: string) =>
      cluster.state.apply(cluster.state.lastIndex + 1, {
        command: { kind: "config-put", name, data: "", ifVersion: null },
        timeMs: 1,
        key: null,
        since: null,
      }).outcome;
    expect(code(put("more"))).toBe("too-large");
    expect(code(put("c7"))).toBe("done true 2");
  });
});

describe("a config from a backup", () => {
  it("has its version, or a later one where its name may have had that", () => {
    const cluster = new Configs();
    expect(cluster.restore("app", "YQ", 7)).toBe("done true 7");
    expect(cluster.set("app", "Yg", 7)).toBe("done true 8");
    cluster.remove("app");
    expect(cluster.restore("app", "YQ", 7)).toBe("done true 9");
    expect(cluster.events.at(-1)?.message).toBe("version 9 was restored from a backup");
  });

  it("does not replace one, and has a version from 1 on", () => {
    const cluster = new Configs();
    cluster.set("app", "YQ");
    expect(cluster.restore("app", "Yg", 7)).toBe("conflict");
    expect(cluster.state.configs.get("app")).toMatchObject({ version: 1, data: "YQ" });
    expect(cluster.restore("db", "", 0)).toBe("invalid");
    expect(cluster.restore("db", "", 2 ** 53)).toBe("invalid");
  });
});
