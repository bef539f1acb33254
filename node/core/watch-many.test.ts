import { describe, expect, it } from "vitest";
import { Prng } from "../../lib/prng.ts";
import { idOf } from "../../test/fixtures/cluster.ts";
import type { NodeId } from "../../state/ids.ts";
import { OBSERVERS_ENOUGH, SESSION_BEAT_MS, SESSION_SILENT_MS, TICK_MS } from "./defaults.ts";
import { connectList } from "./members.ts";
import type { Member, NodeMessage } from "./message.ts";
import { neighboursOf } from "./rings.ts";
import { Roster } from "./roster.ts";
import { isWatchMessage, Watch } from "./watch.ts";

const START = 1_000_000;
const COUNT = 40;
const IDS = Array.from({ length: COUNT }, (_, i) => idOf(`n${i}`));
const MEMBERS = IDS.map((id, i): Member => ({
  id,
  raftId: i + 1,
  name: "",
  addresses: [],
  holdsLog: i < 5,
}));
const HOLDERS = IDS.slice(0, 5);
/** Manages, and is always there. */
const MANAGER = IDS[0] ?? idOf("n0");

interface OnItsWay {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly message: NodeMessage | null;
}

/** More nodes than are all connected, with streams where a node keeps them; a message takes a tick. */
class Crowd {
  readonly #watches: ReadonlyMap<NodeId, Watch>;
  readonly #links: ReadonlySet<string>;
  readonly #prng = new Prng(7);
  readonly #managerHeardMs = new Map(IDS.map((id) => [id, START]));
  #onItsWay: OnItsWay[] = [];
  now = START;
  lossPerMille = 0;
  /** Who has fallen; who hears nothing; whom nobody hears. */
  readonly dead = new Set<NodeId>();
  readonly deaf = new Set<NodeId>();
  readonly mute = new Set<NodeId>();
  /** Everybody that any holder ever had an alert of. */
  readonly accused = new Set<NodeId>();
  /** Of one node, at one time. */
  mostAtOnce = 0;
  /** Messages to each holder but probes and their answers. */
  readonly toHolders = new Map<NodeId, number>();

  constructor() {
    const links = new Set<string>();
    for (const { id } of MEMBERS) {
      for (const other of connectList(id, MEMBERS)) {
        links.add(`${id}>${other.id}`).add(`${other.id}>${id}`);
      }
    }
    this.#links = links;
    this.#watches = new Map(IDS.map((id) => [id, this.#watchOf(id)]));
  }

  #watchOf(id: NodeId): Watch {
    const roster = new Roster({
      clusterId: "test",
      node: id,
      raftId: 1,
      peers: [],
      joinSecret: "",
    });
    roster.learn(MEMBERS, "", 1, START);
    return new Watch(id, roster, (to, message) => this.#send(id, to, message), START);
  }

  #send(from: NodeId, to: NodeId, message: NodeMessage | null): void {
    if (this.mute.has(from) || this.dead.has(from)) return;
    if (to !== from && !this.#links.has(`${from}>${to}`)) return;
    this.#onItsWay.push({ from, to, message });
  }

  pass(ms: number): void {
    for (const endMs = this.now + ms; this.now < endMs;) {
      this.now += TICK_MS;
      if (this.now % SESSION_BEAT_MS === 0) for (const id of IDS) this.#send(MANAGER, id, null);
      for (const message of this.#onItsWay.splice(0)) this.#arrives(message);
      for (const [id, watch] of this.#watches) {
        if (this.dead.has(id)) continue;
        const heardMs = id === MANAGER ? this.now : (this.#managerHeardMs.get(id) ?? 0);
        watch.tick(this.now - heardMs <= SESSION_SILENT_MS, this.now);
      }
      for (const id of IDS) {
        const count = this.missedBy(id).size;
        if (count > 0) this.accused.add(id);
        this.mostAtOnce = Math.max(this.mostAtOnce, count);
      }
    }
  }

  #arrives({ from, to, message }: OnItsWay): void {
    const watch = this.#watches.get(to);
    if (watch === undefined || this.dead.has(to) || this.deaf.has(to)) return;
    if (from !== to && this.#prng.chance(this.lossPerMille)) return;
    if (from === MANAGER) this.#managerHeardMs.set(to, this.now);
    if (from !== to) watch.heard(from, this.now);
    if (message === null || !isWatchMessage(message)) return;
    if (message.kind !== "probe" && message.kind !== "probe-reply") {
      this.toHolders.set(to, (this.toHolders.get(to) ?? 0) + 1);
    }
    watch.message(from, message, this.now);
  }

  /** Its process ends: streams break. */
  kill(...ids: readonly NodeId[]): void {
    for (const id of ids) this.dead.add(id);
    for (const [other, watch] of this.#watches) {
      for (const id of ids) {
        if (this.#links.has(`${id}>${other}`)) watch.peerLost(id, this.now);
      }
    }
  }

  /** As the holders have it, all together. */
  missedBy(node: NodeId): Set<NodeId> {
    const sightings = HOLDERS.filter((holder) => !this.dead.has(holder)).flatMap(
      (holder) => this.#watches.get(holder)?.missing(node, this.now) ?? [],
    );
    return new Set(sightings.map(({ observer }) => observer));
  }

  /** What a holder makes of it. */
  of(holder: NodeId, node: NodeId): { observers: number; alerts: number } {
    const seen = this.#watches.get(holder)?.of(node, () => true, this.now);
    return { observers: seen?.observers ?? 0, alerts: seen?.alerts.length ?? 0 };
  }
}

describe("many nodes that watch each other", () => {
  it("accuse nobody while all are well", () => {
    const crowd = new Crowd();
    crowd.pass(60_000);
    expect(crowd.accused.size).toBe(0);
  });

  it("never accuse one with one voice though one message in twenty is lost for good", () => {
    const crowd = new Crowd();
    crowd.lossPerMille = 50;
    crowd.pass(300_000);
    // Now and then one loses three probes and both answers of those it asked; it takes that back within seconds.
    expect(crowd.mostAtOnce).toBeLessThan(2);
    expect(crowd.accused.size).toBeLessThan(COUNT / 4);
  });

  it("tell every holder of one that fell, all that watch it, within half a second", () => {
    const crowd = new Crowd();
    crowd.pass(5000);
    const fallen = IDS[20] ?? MANAGER;
    crowd.kill(fallen);
    crowd.pass(500);
    const { observers } = neighboursOf(fallen, IDS);
    for (const holder of HOLDERS) {
      expect(crowd.of(holder, fallen)).toEqual({
        observers: observers.length,
        alerts: observers.length,
      });
    }
    expect([...crowd.accused]).toEqual([fallen]);
  });

  it("tell of one that is silent within four seconds, and of nobody else", () => {
    const crowd = new Crowd();
    crowd.pass(5000);
    const silent = IDS[33] ?? MANAGER;
    crowd.deaf.add(silent);
    crowd.mute.add(silent);
    crowd.pass(4000);
    for (const holder of HOLDERS) {
      const { observers, alerts } = crowd.of(holder, silent);
      expect(alerts).toBe(observers);
    }
    crowd.pass(60_000);
    expect([...crowd.accused]).toEqual([silent]);
  });

  it("are not accused by one that is deaf, though it can speak", () => {
    for (const i of [2, 11, 27, 39]) {
      const crowd = new Crowd();
      crowd.pass(5000);
      const deaf = IDS[i] ?? MANAGER;
      crowd.deaf.add(deaf);
      crowd.pass(60_000);
      // It answers nobody itself, and is missed for that.
      expect([...crowd.accused]).toEqual([deaf]);
    }
  });

  it("tell enough of each of a quarter that falls at once, with little to say to any holder", () => {
    const crowd = new Crowd();
    crowd.pass(5000);
    const fallen = IDS.filter((_, i) => i % 4 === 3);
    crowd.kill(...fallen);
    crowd.toHolders.clear();
    crowd.pass(1000);
    for (const node of fallen) {
      const { observers, alerts } = crowd.of(MANAGER, node);
      expect(alerts).toBe(observers);
      expect(alerts).toBeGreaterThanOrEqual(OBSERVERS_ENOUGH);
    }
    expect(crowd.accused).toEqual(new Set(fallen));
    crowd.toHolders.clear();
    crowd.pass(600_000);
    crowd.toHolders.clear();
    crowd.pass(60_000);
    // Each of the others says so twice a minute, and asks two as often for each that it misses.
    const most = Math.max(...crowd.toHolders.values());
    expect(most).toBeLessThan(COUNT * 2 * 4);
    expect(crowd.accused).toEqual(new Set(fallen));
  });
});
