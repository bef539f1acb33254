import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import { HELP_MS, PROBE_SILENT_MS, RINGS, TICK_MS } from "./defaults.ts";
import type { Member, NodeMessage } from "./message.ts";
import { neighboursOf } from "./rings.ts";
import { Roster } from "./roster.ts";
import { isWatchMessage, Watch } from "./watch.ts";

const [A, B, C, D, E] = [idOf("a"), idOf("b"), idOf("c"), idOf("d"), idOf("e")];
const FIVE = [A, B, C, D, E];
const START = 1_000_000;
const EVERYONE = (): boolean => true;

/** The watch of the first of these; `holders` of them hold the log. */
class Bench {
  readonly self: NodeId;
  readonly roster: Roster;
  readonly watch: Watch;
  readonly sent: { readonly to: NodeId; readonly message: NodeMessage }[] = [];
  now = START;
  #index = 0;

  constructor(ids: readonly NodeId[], holders = 3) {
    this.self = ids[0] ?? A;
    this.roster = new Roster({
      clusterId: "test",
      node: this.self,
      raftId: 1,
      peers: [],
      joinSecret: "",
    });
    this.watch = new Watch(
      this.self,
      this.roster,
      (to, message) => this.sent.push({ to, message }),
      START,
    );
    this.learn(ids, holders);
  }

  learn(ids: readonly NodeId[], holders = 3): void {
    this.#index += 1;
    const members = ids.map((id, i): Member => ({
      id,
      raftId: i + 1,
      name: "",
      addresses: [],
      holdsLog: i < holders,
    }));
    this.roster.learn(members, "", this.#index, this.now);
  }

  tick(): void {
    this.now += TICK_MS;
    this.watch.tick(true, this.now);
  }

  /** `from` says that it misses those. */
  says(from: NodeId, ...missed: readonly NodeId[]): void {
    const alerts = missed.map((subject) => ({ subject, how: "silent" as const, ageMs: 0 }));
    this.watch.message(from, { kind: "alerts", alerts, validMs: 60_000 }, this.now);
  }

  /** How many could miss that node, and who does. */
  of(node: NodeId, isThere: (observer: NodeId) => boolean = EVERYONE): [number, NodeId[]] {
    const { observers, alerts } = this.watch.of(node, isThere, this.now);
    return [observers, alerts.map(({ observer }) => observer)];
  }

  missing(node: NodeId): NodeId[] {
    return this.watch.missing(node, this.now).map(({ observer }) => observer);
  }
}

describe("who counts as an observer", () => {
  it("is everybody else while the members are few, whoever of them misses the node", () => {
    const bench = new Bench(FIVE);
    bench.tick();
    expect(bench.of(E)).toEqual([4, []]);
    bench.says(B, E);
    bench.says(A, E);
    expect(bench.of(E)).toEqual([4, [B, A]]);
  });

  it("is who is there itself", () => {
    const bench = new Bench(FIVE);
    bench.says(B, E);
    bench.says(C, E);
    expect(bench.of(E, (observer) => observer !== C && observer !== D)).toEqual([2, [B]]);
  });

  it("is not one that another misses: whom it misses says more about itself", () => {
    const bench = new Bench(FIVE);
    bench.says(B, E, A, C, D);
    expect(bench.of(E)).toEqual([1, [B]]);
    bench.says(C, B);
    expect(bench.of(E)).toEqual([0, []]);
    expect(bench.missing(E)).toEqual([B]);
  });

  it("is one that is missed by the node in question alone: that is the other end of the same link", () => {
    const bench = new Bench(FIVE);
    bench.says(B, E);
    bench.says(E, B, C);
    expect(bench.of(E)).toEqual([4, [B]]);
    // D misses C as well: that is not about E any more.
    bench.says(D, C);
    expect(bench.of(E)).toEqual([3, [B]]);
  });

  it("are the nodes before it on the rings where the members are many", () => {
    const many = Array.from({ length: 60 }, (_, i) => idOf(String(i)));
    const bench = new Bench(many);
    const node = many[7] ?? A;
    const { observers } = neighboursOf(node, many);
    for (const id of many) if (id !== node) bench.says(id, node);
    const [count, missing] = bench.of(node);
    expect([count, missing.length]).toEqual([observers.length, observers.length]);
    expect(new Set(missing)).toEqual(new Set(observers));
    expect(new Set(bench.missing(node))).toEqual(new Set(observers));
  });
});

describe("what members say", () => {
  it("counts as soon as this node knows of them, and no longer than they are members", () => {
    const bench = new Bench(FIVE);
    bench.says(idOf("x"), E);
    expect(bench.missing(E)).toEqual([]);
    bench.learn([...FIVE, idOf("x")]);
    bench.says(idOf("x"), E);
    expect(bench.missing(E)).toEqual([idOf("x")]);
    bench.learn(FIVE);
    bench.tick();
    expect(bench.missing(E)).toEqual([]);
  });

  it("is answered, what others say is not", () => {
    const bench = new Bench(FIVE);
    bench.watch.message(idOf("x"), { kind: "probe-for", n: 1, subject: A }, START);
    bench.watch.message(idOf("x"), { kind: "probe", n: 1 }, START);
    expect(bench.sent).toEqual([]);
    bench.watch.message(B, { kind: "probe", n: 1 }, START);
    expect(bench.sent).toEqual([{ to: B, message: { kind: "probe-reply", n: 1 } }]);
  });

  it("counts for those that they watch: one that accuses everybody takes no more observers from others", () => {
    const many = Array.from({ length: 200 }, (_, i) => idOf(String(i)));
    const bench = new Bench(many);
    const liar = many[3] ?? A;
    bench.says(liar, ...many, idOf("nobody"));
    const { subjects } = neighboursOf(liar, many);
    const accused = many.filter((node) => bench.missing(node).length > 0);
    expect(new Set(accused)).toEqual(new Set(subjects));
    expect(accused.length).toBeLessThanOrEqual(RINGS);
    expect(bench.missing(idOf("nobody"))).toEqual([]);
  });
});

describe("a node's own watch", () => {
  it("misses a silent member, and tells those that hold the log, itself by itself", () => {
    const bench = new Bench(FIVE, 2);
    for (let ms = 0; ms < PROBE_SILENT_MS + HELP_MS + 3 * TICK_MS; ms += TICK_MS) {
      for (const id of [B, C, D]) bench.watch.heard(id, bench.now);
      bench.tick();
    }
    const told = bench.sent.filter(
      ({ message }) => message.kind === "alerts" && message.alerts.length > 0,
    );
    expect(told.map(({ to }) => to)).toEqual([A, B]);
    for (const { to, message } of told) {
      if (to === A && isWatchMessage(message)) bench.watch.message(A, message, bench.now);
    }
    expect(bench.of(E)).toEqual([4, [A]]);
  });

  it("knows whose stream is broken, and forgets it with the member", () => {
    const bench = new Bench(FIVE);
    bench.tick();
    bench.watch.peerLost(B, START);
    bench.watch.peerLost(C, START);
    bench.watch.peerLost(C, START + 500);
    bench.watch.peerLost(D, START);
    bench.watch.peerUp(D, START + 600);
    expect([...bench.watch.lost]).toEqual([
      [B, START],
      [C, START],
    ]);
    bench.learn([A, C, D, E]);
    bench.tick();
    expect([...bench.watch.lost.keys()]).toEqual([C]);
  });

  it("follows the list: whoever is new is probed at the next tick, whoever has left no more", () => {
    const bench = new Bench([A, B]);
    bench.tick();
    bench.learn([A, C]);
    bench.sent.length = 0;
    bench.tick();
    expect(bench.sent.flatMap(({ to, message }) => (message.kind === "probe" ? [to] : []))).toEqual(
      [C],
    );
  });
});

describe("a node that cannot be dialled", () => {
  it("is told so, again when its stream is new, and when it can be", () => {
    const bench = new Bench(FIVE);
    bench.watch.dialable(B, false);
    bench.watch.peerUp(B, bench.now);
    bench.watch.peerUp(C, bench.now);
    expect([B, C].map((id) => bench.watch.isHidden(id))).toEqual([true, false]);
    bench.watch.dialable(B, true);
    bench.watch.peerUp(B, bench.now);
    expect(bench.watch.isHidden(B)).toBe(false);
    expect(bench.sent.map(({ to, message }) => [to, message])).toEqual([
      [B, { kind: "hidden", hidden: true }],
      [B, { kind: "hidden", hidden: true }],
      [B, { kind: "hidden", hidden: false }],
    ]);
  });

  it("believes it of itself when half of the other holders of the log say so", () => {
    const bench = new Bench(FIVE, 4);
    const hear = (from: NodeId, hidden: boolean): boolean => {
      bench.watch.message(from, { kind: "hidden", hidden }, bench.now);
      return bench.watch.isHidden(A);
    };
    // E holds no log, and a stranger is none to be heard.
    expect([hear(E, true), hear(idOf("x"), true), hear(B, true), hear(C, true)]).toEqual([
      false,
      false,
      false,
      true,
    ]);
    expect(hear(B, false)).toBe(false);
  });

  it("is forgotten with its record", () => {
    const bench = new Bench(FIVE);
    bench.watch.dialable(B, false);
    bench.learn([A, C, D, E]);
    bench.tick();
    bench.learn(FIVE);
    bench.tick();
    expect(bench.watch.isHidden(B)).toBe(false);
  });
});
