import { isVoter } from "../../consensus/membership.ts";
import type { Prng } from "../../lib/prng.ts";
import type { Host } from "./host.ts";
import { loseMost } from "./mass-loss.ts";
import { expectDown, expectReady } from "./missing.ts";
import type { Drill } from "./options.ts";
import { comeBack, loseLeased } from "./partition-drills.ts";
import type { Registers } from "./registers.ts";
import { strand } from "./strand.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** A fault stands this long: the cluster has to live with it, not to wait for its end. */
const FAULT_MS = 20_000;
/** Another manager within: an election, the slowest disks and links, and one split vote or two. */
const FAILOVER_MS = 12_000;
/** How long a fault that concerns no quorum is looked at. */
const CALM_MS = 8_000;
const ASK_EVERY_MS = 250;
/** A fault between two nodes, while all others hear both: shorter than what a manager bears. */
const APART_MS = 6_000;

/**
 * What must come of one fault in a cluster that has converged and is well otherwise. In the storm before nothing
 * is promised but safety; here writes must go on.
 */
export class Drills {
  readonly #world: World;
  readonly #prng: Prng;
  readonly #registers: Registers;

  constructor(world: World, prng: Prng, registers: Registers) {
    this.#world = world;
    this.#prng = prng;
    this.#registers = registers;
  }

  /** Returns with the fault mended; nothing is done where a cluster is too small to bear it. */
  run(drill: Drill): void {
    const world = this.#world;
    const manager = world.running().find(({ node }) => node?.isManager === true);
    if (manager === undefined) return;
    const voters = world.running().filter((host) => host !== manager && votes(host, manager));
    const [voter] = this.#prng.shuffle(voters);
    if (voter === undefined || voters.length < 2) return;
    world.say(`drill: ${drill} (${manager.id} manages, ${voter.id} votes)`);
    world.count(drill);
    this.#begin(drill, manager, voter);
    world.network.mend();
    manager.stalledUntilMs = 0;
    for (const host of world.hosts.values()) host.resume();
    world.restartAll();
  }

  #begin(drill: Drill, manager: Host, voter: Host): void {
    const world = this.#world;
    const others = [...world.hosts.values()].filter((host) => host !== manager);
    const { network } = world;
    switch (drill) {
      case "the manager's disk stands still":
        manager.stalledUntilMs = world.queue.nowMs + FAULT_MS;
        this.#goesOn(drill, [...others, manager], others);
        return;
      case "the manager is deaf":
        for (const { id } of others) network.cut(id, manager.id);
        this.#goesOn(drill, others, others);
        return;
      case "the manager is mute":
        for (const { id } of others) network.cut(manager.id, id);
        this.#goesOn(drill, others, others);
        return;
      case "the manager is down":
        world.crash(manager, drill, FAULT_MS);
        this.#goesOn(drill, others, others);
        return;
      case "the manager stands still":
        manager.pause();
        this.#goesOn(drill, others, others);
        for (let i = 0; i < 10; i++) {
          this.#ask(others);
          world.until(world.queue.nowMs + ASK_EVERY_MS);
        }
        // It goes on as a manager that nobody has told of the other, and users are there first.
        for (let i = 0; i < 10; i++) this.#ask([manager]);
        manager.resume(true);
        world.until(world.queue.nowMs + ASK_EVERY_MS);
        return;
      case "a voter does not hear the manager":
        network.cut(manager.id, voter.id);
        this.#stays(drill, manager);
        return;
      case "a voter and the manager are apart":
        network.cut(manager.id, voter.id);
        network.cut(voter.id, manager.id);
        this.#stays(drill, manager);
        return;
      case "the manager hands over to a voter that is away":
        world.isolate(voter);
        manager.request({ kind: "transfer", node: voter.id }, CALM_MS, () => {});
        world.until(world.queue.nowMs + 200);
        this.#goesOn(drill, [manager], [manager, ...others]);
        return;
      case "the manager hands over to a voter that is mute":
        // It stands for a term that nobody hears of, and has to be brought back from there.
        for (const { id } of world.hosts.values()) network.cut(voter.id, id);
        manager.request({ kind: "transfer", node: voter.id }, CALM_MS, () => {});
        world.until(world.queue.nowMs + 200);
        this.#goesOn(drill, [manager], [manager, ...others]);
        return;
      case "power loss":
        // All begin again at the same moment, in step: only chance lets one of them stand first.
        for (const host of world.running()) world.crash(host, drill, 1_000);
        return;
      case "a node falls":
        world.crash(voter, drill, FAULT_MS);
        expectDown(world, drill, voter.id);
        return;
      case "a node falls silent":
        world.isolate(voter);
        expectDown(world, drill, voter.id);
        return;
      case "the manager's node falls silent":
        world.isolate(manager);
        expectDown(world, drill, manager.id);
        return;
      case "a node and the manager are apart for a while":
        network.cut(manager.id, voter.id);
        network.cut(voter.id, manager.id);
        expectReady(world, drill, voter.id, APART_MS);
        return;
      case "most nodes fall":
        loseMost(world, this.#prng, manager);
        return;
      case "a node with leased tasks is cut off":
        loseLeased(world, this.#prng, "cut off");
        return;
      case "a node with leased tasks stands still":
        loseLeased(world, this.#prng, "standing still");
        return;
      case "a node with leased tasks falls":
        loseLeased(world, this.#prng, "down");
        return;
      case "a node is cut off and comes back":
        comeBack(world, this.#prng);
        return;
      case "the manager falls with entries that one slow disk alone has": {
        const ask = (): void => this.#ask([manager]);
        if (strand(world, this.#prng, manager, ask, () => true))
          this.#goesOn(drill, others, others);
        return;
      }
    }
  }

  /** Writes that are asked of some are done in time, with one of those as the manager. */
  #goesOn(drill: Drill, asked: readonly Host[], managers: readonly Host[]): void {
    const world = this.#world;
    const deadlineMs = world.queue.nowMs + FAILOVER_MS;
    const before = this.#registers.acknowledged;
    while (world.queue.nowMs < deadlineMs) {
      this.#ask(asked);
      world.until(world.queue.nowMs + ASK_EVERY_MS);
      const isDone = this.#registers.acknowledged > before;
      if (isDone && managers.some(({ node }) => node?.isManager === true)) return;
    }
    throw new Violation("liveness", `${drill}: no write is done within ${FAILOVER_MS} ms`);
  }

  /** A manager that a quorum hears goes on in its term. */
  #stays(drill: Drill, manager: Host): void {
    const world = this.#world;
    const term = manager.node?.replica.raft.term;
    const endMs = world.queue.nowMs + CALM_MS;
    while (world.queue.nowMs < endMs) {
      // Quiet at first: whoever is cut off has a log as good as any, and only the rules hold it back.
      if (endMs - world.queue.nowMs < CALM_MS / 2) this.#ask([manager]);
      world.until(world.queue.nowMs + ASK_EVERY_MS);
      const isLeading = manager.node?.isManager === true;
      if (isLeading && manager.node?.replica.raft.term === term) continue;
      throw new Violation("disruption", `${drill}: ${manager.id} leads term ${term} no longer`);
    }
  }

  #ask(hosts: readonly Host[]): void {
    const up = hosts.filter(({ isUp }) => isUp);
    if (up.length === 0) return;
    const { request, done } = this.#registers.next();
    this.#prng.pick(up).request(request, 5_000, done);
  }
}

function votes(host: Host, manager: Host): boolean {
  const replica = manager.node?.replica;
  const raftId = host.node?.replica.raftId;
  return replica !== undefined && raftId !== undefined && isVoter(replica.membership, raftId);
}
