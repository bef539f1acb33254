import type { Prng } from "../../lib/prng.ts";
import { AUTOPILOT_MS, TICK_MS } from "../../node/core/defaults.ts";
import { type Faults, HOSTS_MAX } from "./faults.ts";
import type { Host } from "./host.ts";
import { strand } from "./strand.ts";
import type { World } from "./world.ts";

/** What was on its way to or from a host is gone when it is joined again. */
const APART_MS = 1_500;
/** The newest level that the simulated nodes know. */
const LEVEL_MAX = 3;

/**
 * Moments that chance brings about too seldom, made on purpose: in each of them a rule is needed that seems idle
 * otherwise. Switched on in a part of the seeds, in addition to what else befalls them.
 */
export class RareFaults {
  readonly #world: World;
  readonly #prng: Prng;
  readonly #storm: Faults;
  /** Moments that were used already. */
  readonly #used: Set<string> = new Set();

  constructor(world: World, prng: Prng, storm: Faults) {
    this.#world = world;
    this.#prng = prng;
    this.#storm = storm;
  }

  begin(): void {
    const { rareEveryMs, mixedLevels } = this.#world.options;
    if (rareEveryMs === null) return;
    this.#world.queue.after(this.#prng.between(1, 2 * rareEveryMs), () => {
      if (!this.#world.faultsOn) return;
      if (mixedLevels && this.#prng.chance(500)) this.#upgrade();
      else this.#strand();
      this.begin();
    });
  }

  /** After every turn of a node. */
  watch(host: Host): void {
    const { rareEveryMs, applyMs, fetchMs, mixedLevels } = this.#world.options;
    const raft = host.node?.replica.raft;
    if (rareEveryMs === null || raft === undefined) return;
    if (host.node?.isManager === true) {
      this.#watchLearners(host);
      if (mixedLevels) this.#watchLevel(host);
      if (fetchMs > 0) this.#watchFetches(host);
    } else if (applyMs > 0 && raft.appliedIndex < raft.commitIndex) {
      this.#choose(host);
    }
  }

  #strand(): void {
    const world = this.#world;
    const leader = this.#manager();
    if (leader === undefined) return;
    const ask = (): void => world.ask(leader);
    strand(world, this.#prng, leader, ask, () => world.faultsOn);
  }

  #isNews(key: string): boolean {
    const { size } = this.#used;
    return this.#used.add(key).size > size;
  }

  #manager(): Host | undefined {
    return this.#world
      .running()
      .find(({ node, isPaused }) => !isPaused && node?.isManager === true);
  }

  #part(host: Host, others: readonly Host[]): void {
    for (const { id } of others) {
      this.#world.network.cut(host.id, id);
      this.#world.network.cut(id, host.id);
    }
  }

  #join(host: Host, others: readonly Host[]): void {
    for (const { id } of others) this.#world.network.join(host.id, id);
  }

  /** Leadership goes to one that has all of the log, and has not applied a committed change of who votes. */
  #choose(host: Host): void {
    const raft = host.node?.replica.raft;
    const open = raft?.entriesFrom(raft.appliedIndex + 1) ?? [];
    const change = open.find(
      ({ kind, index }) => kind === "conf" && index <= (raft?.commitIndex ?? 0),
    );
    if (change === undefined || !this.#isNews(`change/${change.index}/${host.id}`)) return;
    this.#world.count("slow successor");
    this.#manager()?.request({ kind: "transfer", node: host.id }, 5_000, () => {});
  }

  /** A node fetches a snapshot, and leadership goes to one that still has the log it needs: that may be faster. */
  #watchFetches(manager: Host): void {
    const world = this.#world;
    const { term, base } = manager.node?.replica.raft ?? { term: 0, base: { index: 0 } };
    const fetching = world.running().find(({ node }) => {
      const { raftId = 0, raft } = node?.replica ?? {};
      const isAsked = manager.node?.replica.raft.progressOf(raftId)?.state === "snapshot";
      return isAsked && raft !== undefined && raft.lastIndex < base.index;
    });
    const next = (fetching?.node?.replica.raft.lastIndex ?? -1) + 1;
    if (next === 0 || fetching === undefined) return;
    const longer = world
      .running()
      .find(
        ({ node }) =>
          node !== null && node !== fetching.node && node.replica.raft.base.index < next,
      );
    if (longer === undefined || !this.#isNews(`fetch/${fetching.id}/${term}`)) return;
    world.count("longer log");
    // Once the snapshot is offered and fetched.
    this.#soon(AUTOPILOT_MS, () => {
      manager.request({ kind: "transfer", node: longer.id }, 5_000, () => {});
    });
  }

  /** All nodes of the lowest level are upgraded, one after the other. */
  #upgrade(): void {
    const world = this.#world;
    const lowest = Math.min(...[...world.hosts.values()].map(({ facts }) => facts.featureLevel));
    if (lowest >= LEVEL_MAX) return;
    const old = world.running().filter(({ facts }) => facts.featureLevel === lowest);
    old.forEach((host, i) => {
      world.queue.after(i * 300, () => {
        if (!world.faultsOn || !host.isUp || host.facts.featureLevel > lowest) return;
        host.facts = { ...host.facts, featureLevel: lowest + 1 };
        world.crash(host, "upgrade", 200);
      });
    });
  }

  /** All understand the next level, and the manager is about to raise it: a node asks that does not. */
  #watchLevel(manager: Host): void {
    const world = this.#world;
    const replica = manager.node?.replica;
    if (replica === undefined || world.hosts.size >= HOSTS_MAX) return;
    const { featureLevel, nodes } = replica.state;
    for (const node of nodes.values()) if (node.featureLevel <= featureLevel) return;
    if (nodes.size === 0 || !this.#isNews(`level/${featureLevel}/${replica.raft.term}`)) return;
    // Neither is done before both are asked for.
    for (const host of world.hosts.values()) {
      host.stalledUntilMs = world.queue.nowMs + AUTOPILOT_MS + 2 * TICK_MS;
    }
    world.count("level before a join");
    world.grow(featureLevel);
  }

  /** The only voter is about to have its learners vote, and their disks are lost: it is not told, but it asks. */
  #watchLearners(manager: Host): void {
    const { voters = [], learners = [] } = manager.node?.replica.membership ?? {};
    if (voters.length !== 1 || learners.length < 2) return;
    if (!this.#isNews(`learners/${learners.join()}`) || this.#prng.chance(500)) return;
    this.#soon(AUTOPILOT_MS, () => this.#loseLearners(manager));
  }

  #loseLearners(manager: Host): void {
    const world = this.#world;
    const { life } = manager;
    const { learners = [] } = manager.node?.replica.membership ?? {};
    const lost = world.running().filter(({ node }) => learners.includes(node?.replica.raftId ?? 0));
    this.#part(manager, lost);
    // It has done by then what follows from answers that were there: what it does later, it does without any.
    world.queue.after(2 * TICK_MS, () => {
      if (!world.faultsOn) return;
      const isManager =
        manager.life === life && !manager.isPaused && manager.node?.isManager === true;
      for (const host of lost) {
        const isApart = world.network.isCut(host.id, manager.id);
        if (isManager && isApart && this.#storm.mayWipe(host)) world.wipe(host);
      }
      world.queue.after(APART_MS, () => {
        if (world.faultsOn) this.#join(manager, lost);
      });
    });
  }

  #soon(mostMs: number, act: () => void): void {
    this.#world.queue.after(this.#prng.below(mostMs), () => {
      if (this.#world.faultsOn) act();
    });
  }
}
