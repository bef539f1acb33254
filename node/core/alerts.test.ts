import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import { Alerts } from "./alerts.ts";
import { ALERT_MAX_MS, ALERT_VALID } from "./defaults.ts";

const [A, B, X, Y, Z] = [idOf("a"), idOf("b"), idOf("x"), idOf("y"), idOf("z")];
const MEMBERS: ReadonlySet<NodeId> = new Set([A, B, X, Y, Z]);
const START = 1_000_000;
const VALID_MS = 3000;

function say(
  alerts: Alerts,
  observer: NodeId,
  subjects: readonly NodeId[],
  { atMs = START, ageMs = 500, validMs = VALID_MS } = {},
): void {
  const said = subjects.map((subject) => ({ subject, how: "silent" as const, ageMs }));
  alerts.heard(observer, { kind: "alerts", alerts: said, validMs }, atMs);
}

function by(alerts: Alerts, subject: NodeId, now = START): NodeId[] {
  return alerts.of(subject, now).map(({ observer }) => observer);
}

describe("alerts", () => {
  it("tell who misses a node, how, and since when by this node's clock", () => {
    const alerts = new Alerts();
    say(alerts, A, [X]);
    expect(alerts.of(X, START)).toMatchObject([
      { observer: A, how: "silent", sinceMs: START - 500 },
    ]);
    expect(alerts.of(Y, START)).toEqual([]);
  });

  it("of many observers and about many nodes stand beside each other", () => {
    const alerts = new Alerts();
    say(alerts, A, [X, Y]);
    say(alerts, B, [Y, Z]);
    say(alerts, X, [A]);
    expect([X, Y, Z, A, B].map((node) => by(alerts, node))).toEqual([[A], [A, B], [B], [X], []]);
  });

  it("of one observer are replaced as a whole, those of others stay", () => {
    const alerts = new Alerts();
    say(alerts, A, [X, Y]);
    say(alerts, B, [X]);
    say(alerts, A, [Y, Z]);
    expect([X, Y, Z].map((node) => by(alerts, node))).toEqual([[B], [A], [A]]);
    say(alerts, A, []);
    expect([X, Y, Z].map((node) => by(alerts, node))).toEqual([[B], [], []]);
  });

  it("are kept with the time of the newest message: one that repeats itself is not missed twice", () => {
    const alerts = new Alerts();
    say(alerts, A, [X]);
    say(alerts, A, [X], { atMs: START + 1000, ageMs: 1500 });
    expect(alerts.of(X, START + 1000)).toMatchObject([{ observer: A, sinceMs: START - 500 }]);
    expect(by(alerts, X, START + 1000 + VALID_MS)).toEqual([A]);
    // Named twice in one message, too.
    say(alerts, B, [Y, Y]);
    expect(by(alerts, Y)).toEqual([B]);
    alerts.forget(B);
    expect(by(alerts, Y)).toEqual([]);
  });

  it("expire, whether or not time has passed here meanwhile", () => {
    const alerts = new Alerts();
    say(alerts, A, [X]);
    say(alerts, B, [X], { validMs: 9000 });
    expect(by(alerts, X, START + VALID_MS)).toEqual([A, B]);
    expect(by(alerts, X, START + VALID_MS + 1)).toEqual([B]);
    alerts.tick(MEMBERS, START + VALID_MS + 1);
    expect(by(alerts, X)).toEqual([B]);
  });

  it("expire though their observer says that they count for ever", () => {
    const alerts = new Alerts();
    say(alerts, A, [X], { validMs: Number.MAX_SAFE_INTEGER });
    const lastMs = START + ALERT_VALID * ALERT_MAX_MS;
    expect(by(alerts, X, lastMs)).toEqual([A]);
    expect(by(alerts, X, lastMs + 1)).toEqual([]);
  });

  it("stay through a tick while they count", () => {
    const alerts = new Alerts();
    say(alerts, A, [X, Y]);
    alerts.tick(MEMBERS, START + VALID_MS);
    expect([by(alerts, X), by(alerts, Y)]).toEqual([[A], [A]]);
  });

  it("are forgotten with their observer when it is no member any more", () => {
    const alerts = new Alerts();
    say(alerts, A, [X, Y]);
    say(alerts, B, [X]);
    alerts.tick(new Set([B, X, Y]), START);
    expect([by(alerts, X), by(alerts, Y)]).toEqual([[B], []]);
  });

  it("are forgotten on request, of one that said nothing as well", () => {
    const alerts = new Alerts();
    say(alerts, A, [X]);
    alerts.forget(B);
    expect(by(alerts, X)).toEqual([A]);
    alerts.forget(A);
    expect(by(alerts, X)).toEqual([]);
  });
});
