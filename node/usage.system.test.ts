import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { usageMeter } from "./usage.ts";

const MIB = 1024 * 1024;

test("memory, load and disk are what the machine itself says", () => {
  const folder = mkdtempSync(join(tmpdir(), "orch-usage-"));
  try {
    const usage = usageMeter(folder)();
    const df = execFileSync("df", ["--block-size=1M", "--output=used", folder], {
      encoding: "utf8",
    });
    // Others write meanwhile.
    expect(Math.abs(usage.diskMib - Number(df.split("\n")[1]))).toBeLessThan(100);
    const meminfo = readFileSync("/proc/meminfo", "utf8");
    const kib = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(meminfo)?.[1]);
    const unavailableMib = (kib("MemTotal") - kib("MemAvailable")) / 1024;
    expect(Math.abs(usage.memoryMib - unavailableMib)).toBeLessThan(300);
    expect(usage.load1Milli).toBeGreaterThanOrEqual(0);
    expect(usage.cpuMilli).toBeLessThanOrEqual(cpus().length * 1000);
    expect(usage.networkRxBytesPerS).not.toBeNull();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the disk's figure follows what is written", () => {
  // A file system of its own, to which nobody else writes much.
  const folder = mkdtempSync("/dev/shm/orch-usage-");
  try {
    const measure = usageMeter(folder);
    const before = measure().diskMib;
    writeFileSync(join(folder, "ballast"), Buffer.alloc(32 * MIB, "x"));
    const used = measure().diskMib - before;
    expect(used).toBeGreaterThan(24);
    expect(used).toBeLessThan(40);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Sends 2 MB on the one interface, and as much again on the loopback, within about a second. */
const SENDER = `
import { createSocket } from "node:dgram";
import { usageMeter } from ${JSON.stringify(join(import.meta.dirname, "usage.ts"))};
const measure = usageMeter("/tmp");
const socket = createSocket("udp4");
const begun = performance.now();
const packet = Buffer.alloc(1_000, "x");
for (let i = 0; i < 20; i++) {
  for (let k = 0; k < 100; k++) {
    for (const to of ["10.77.0.2", "127.0.0.1"])
      await new Promise((done, failed) => socket.send(packet, 7, to, (e) => e ? failed(e) : done()));
  }
  await new Promise((done) => setTimeout(done, 50));
}
const first = measure();
const seconds = (performance.now() - begun) / 1000;
await new Promise((done) => setTimeout(done, 300));
const second = measure();
socket.close();
console.log(JSON.stringify({ seconds, first, second }));
`;

const Figures = z.object({ networkRxBytesPerS: z.number(), networkTxBytesPerS: z.number() });
const Measured = z.object({ seconds: z.number(), first: Figures, second: Figures });

/** To change the network takes root. */
const mayUnshare = process.getuid?.() === 0 && existsSync("/usr/bin/unshare");

test.runIf(mayUnshare)(
  "the network's figures are bytes a second over the interfaces of the node's own namespace, smoothed",
  () => {
    // A cable with both ends here: what one sends the other receives.
    const cable = `
    ip link set lo up
    ip link add real0 type veth peer name real1
    ip addr add 10.77.0.1/24 dev real0
    ip link set real0 up
    ip link set real1 up
    ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev real0`;
    const run = `set -e; ${cable}; exec "$0" --input-type=module --eval "$1"`;
    const done = spawnSync(
      "/usr/bin/unshare",
      ["--net", "sh", "-c", run, process.execPath, SENDER],
      {
        encoding: "utf8",
        timeout: 30_000,
      },
    );
    expect(done.stderr).toBe("");
    const { seconds, first, second } = Measured.parse(JSON.parse(done.stdout));
    // Each packet with its headers; the kernel itself says a word or two on a new interface.
    const sent = (20 * 100 * 1_042) / seconds;
    for (const figure of ["networkRxBytesPerS", "networkTxBytesPerS"] as const) {
      expect(first[figure]).toBeGreaterThan(0.95 * sent);
      expect(first[figure]).toBeLessThan(1.1 * sent);
      // Nothing was sent since: a quarter of the weight is that.
      expect(second[figure] / first[figure]).toBeGreaterThan(0.7);
      expect(second[figure] / first[figure]).toBeLessThan(0.8);
    }
  },
);
