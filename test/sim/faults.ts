import { isJoint } from "../../consensus/membership.ts";
import type { Prng } from "../../lib/prng.ts";
import type { Request } from "../../node/core/request.ts";
import type { Host } from "./host.ts";
import type { World } from "./world.ts";

export const HOSTS_MAX = 9;

/** What befalls the cluster, each at its own mean distance; a seed switches a random part of it off. */
export class Faults {
  readonly #world: World;
  readonly #prng: Prng;
  #keys = 0;
  #removals = 0;
  /** Terms and changes that were seen already. */
  readonly #watched: Set<string> = new Set();

  constructor(world: World, prng: Prng) {
    this.#world = world;
    this.#prng = prng;
  }

  begin(): void {
    const { options } = this.#world;
    this.#every(options.crashEveryMs, () => this.#crashOne());
    this.#every(options.pauseEveryMs, () => this.#pauseOne());
    this.#every(options.cutEveryMs, () => this.#cutSome());
    this.#every(options.stallEveryMs, () => this.#stallOne());
    this.#every(options.containerCrashEveryMs, () => this.#crashContainer());
    this.#every(options.breakEveryMs, () => this.#breakStream());
    this.#every(options.syncErrorEveryMs, () => this.#failSync());
    this.#every(options.wipeEveryMs, () => this.#wipeOne());
    this.#every(options.churnEveryMs, () => this.#joinOrLeave());
    this.#every(options.transferEveryMs, () => this.#transfer());
    this.#every(options.leaderEveryMs, () => this.#troubleLeader());
  }

  /** A leader that is new, or in the midst of a change of membership, is in danger: then elections are difficult. */
  watch(host: Host): void {
    const raft = host.node?.replica.raft;
    if (raft?.role !== "leader" || this.#world.options.leaderEveryMs === null) return;
    if (this.#isNews(`${raft.term}`) && this.#prng.chance(300)) {
      // Those that were cut off come back with what they alone hold, and hear no leader that would overwrite it.
      this.#soon(300, () => {
        this.#world.network.mend();
        this.#trouble(host);
      });
    }
    const { membership, changePending, term } = raft;
    if (!changePending) return;
    const { voters, outgoing } = membership;
    if (!this.#isNews(`${term}/${voters.join()}/${outgoing.join()}`)) return;
    const leaver = this.#world.running().find(({ node }) => {
      const raftId = node?.replica.raftId ?? 0;
      return outgoing.includes(raftId) && !voters.includes(raftId);
    });
    // To lead while one's own removal is under way.
    if (leaver !== undefined && leaver !== host && this.#prng.chance(400)) {
      host.request({ kind: "transfer", node: leaver.id }, 5_000, () => {});
    } else if (this.#prng.chance(200)) {
      this.#soon(300, () => host.deliver({ kind: "hand-over" }));
    } else if (this.#prng.chance(isJoint(membership) ? 800 : 200)) {
      this.#soon(30, () => this.#trouble(host));
    }
  }

  #isNews(key: string): boolean {
    const { size } = this.#watched;
    return this.#watched.add(key).size > size;
  }

  #soon(mostMs: number, act: () => void): void {
    this.#world.queue.after(this.#prng.below(mostMs), () => {
      if (this.#world.faultsOn) act();
    });
  }

  #every(everyMs: number | null, act: () => void): void {
    if (everyMs === null) return;
    this.#world.queue.after(this.#prng.between(1, 2 * everyMs), () => {
      if (!this.#world.faultsOn) return;
      act();
      this.#every(everyMs, act);
    });
  }

  #pickUp(): Host | null {
    const up = this.#world.running();
    return up.length === 0 ? null : this.#prng.pick(up);
  }

  #crashOne(): void {
    const host = this.#pickUp();
    if (host === null) return;
    this.#world.crash(host, "crash");
    // Sometimes all at once: power loss.
    if (this.#prng.chance(50)) {
      for (const other of this.#world.running()) this.#world.crash(other, "crash");
    }
  }

  /** A sync fails: the process ends at once, and nobody knows what the disk took. */
  #failSync(): void {
    const host = this.#pickUp();
    if (host !== null) this.#world.crash(host, "sync error");
  }

  #pauseOne(): void {
    const world = this.#world;
    const up = world.running().filter(({ isPaused }) => !isPaused);
    if (up.length > 0) this.#pause(this.#prng.pick(up));
  }

  #pause(host: Host): void {
    const world = this.#world;
    world.count("pause");
    world.say(`${host.id} stands still`);
    host.pause();
    world.queue.after(this.#prng.between(100, 7_000), () => {
      world.say(`${host.id} goes on`);
      host.resume();
    });
  }

  #cutSome(): void {
    const world = this.#world;
    const ids = this.#prng.shuffle([...world.hosts.keys()]);
    if (ids.length < 2) return;
    world.count("cut");
    const side = new Set(ids.slice(0, this.#prng.between(1, ids.length - 1)));
    const shape = this.#prng.pick(["both ways", "one way", "chain"] as const);
    world.say(`cut ${shape}: ${[...side].join(" ")}`);
    ids.forEach((a, i) => {
      ids.forEach((b, j) => {
        const apart = side.has(a) && !side.has(b);
        if (shape === "chain" ? Math.abs(i - j) > 1 : apart) world.network.cut(a, b);
        if (shape === "both ways" && apart) world.network.cut(b, a);
      });
    });
    world.queue.after(this.#prng.between(200, 9_000), () => {
      // Afterwards all is mended, and what is cut then is not the storm's.
      if (!world.faultsOn) return;
      world.say("the cuts are mended");
      world.network.mend();
    });
  }

  #stallOne(): void {
    this.#stall(this.#prng.pick([...this.#world.hosts.values()]));
  }

  #stall(host: Host): void {
    const world = this.#world;
    world.count("disk stall");
    world.say(`${host.id}'s disk stalls`);
    host.stalledUntilMs = world.queue.nowMs + this.#prng.between(500, 5_000);
  }

  #crashContainer(): void {
    const world = this.#world;
    const hosts = world.running().filter(({ engine }) => (engine?.running().length ?? 0) > 0);
    if (hosts.length === 0) return;
    const host = this.#prng.pick(hosts);
    const running = host.engine?.running() ?? [];
    if (running.length === 0) return;
    world.count("container crash");
    host.engine?.crash(this.#prng.pick(running), 1);
  }

  #breakStream(): void {
    const world = this.#world;
    const [a, b] = this.#prng.shuffle(world.running());
    if (a === undefined || b === undefined) return;
    world.count("broken stream");
    a.deliver({ kind: "peer-lost", peer: b.id });
    b.deliver({ kind: "peer-lost", peer: a.id });
    world.queue.after(this.#prng.between(50, 2_000), () => {
      if (a.isUp && b.isUp) {
        a.deliver({ kind: "peer-up", peer: b.id });
        b.deliver({ kind: "peer-up", peer: a.id });
      }
    });
  }

  /**
   * A disk is lost with all that is on it, and its node is admitted anew. Only where consensus can bear it: every
   * node that knows a configuration with this one in it knows three voters at least, and none of them lost already.
   */
  #wipeOne(): void {
    const world = this.#world;
    if (this.#removals > 0) return;
    const hosts = this.#prng.shuffle([...world.hosts.values()]);
    const host = hosts.find(
      (candidate) => this.mayWipe(candidate) && !this.#isAnswering(candidate),
    );
    if (host !== undefined) world.wipe(host);
  }

  /**
   * Whether its word that it is here may be on its way to an only voter, that makes a voter of it then: no rule could
   * bear that loss. One that stands still does not read it, and asks again.
   */
  #isAnswering({ disk }: Host): boolean {
    const raftId = disk.durable.identity?.raftId ?? 0;
    return this.#world.running().some(({ node, isPaused }) => {
      const { voters = [], learners = [] } = node?.replica.membership ?? {};
      const leads = node?.isManager === true && !isPaused;
      return leads && voters.length === 1 && learners.includes(raftId);
    });
  }

  /** Whether consensus can bear the loss of this disk now, and of no other. */
  mayWipe(host: Host): boolean {
    // A removal that was asked for may be done at any time: the two together could be more than a quorum bears.
    return this.#removals === 0 && this.#isBearable(host);
  }

  #isBearable(host: Host): boolean {
    const world = this.#world;
    const lost = (raftId: number): boolean =>
      ![...world.hosts.values()].some(({ disk }) => disk.durable.identity?.raftId === raftId);
    const raftId = host.disk.durable.identity?.raftId;
    if (raftId === undefined) return false;
    if (this.#isChanging()) return false;
    const isBorne = [...world.hosts.values()].every(({ node }) => {
      const { voters = [], outgoing = [] } = node?.replica.membership ?? {};
      return [voters, outgoing].every(
        (half) => !half.includes(raftId) || (half.length >= 3 && !half.some(lost)),
      );
    });
    return isBorne && world.running().some(({ node }) => node?.isManager === true);
  }

  /**
   * Whether some log holds a change that its disk does not know to be committed, or that its node has yet to apply. It may
   * be about to make anyone a voter; and whoever restarts now does so under the configuration before it, which may need the lost one.
   */
  #isChanging(): boolean {
    return [...this.#world.hosts.values()].some(({ node, disk }) => {
      const raft = node?.replica.raft;
      const entries = raft?.entriesFrom(raft.base.index + 1) ?? disk.durable.entries;
      const { commit } = disk.durable.hardState;
      const settled = Math.min(commit, raft?.appliedIndex ?? commit);
      return entries.some(({ kind, index }) => kind === "conf" && index > settled);
    });
  }

  #joinOrLeave(): void {
    const world = this.#world;
    const { size } = world.hosts;
    world.count("join or leave");
    if (size < 2 || (size < HOSTS_MAX && this.#prng.chance(500))) {
      world.grow();
      return;
    }
    const asked = this.#pickUp();
    const leaver = this.#prng.pick([...world.hosts.values()]);
    if (asked === null || size <= 2) return;
    this.#keys += 1;
    const kind = this.#prng.chance(700) ? "node-leave" : "node-remove";
    if (kind === "node-remove" && !this.#isBearable(leaver)) return;
    if (kind === "node-remove") this.#removals += 1;
    world.say(`${kind} ${leaver.id}`);
    const request: Request = {
      kind: "write",
      key: `leave-${this.#keys}`,
      command:
        kind === "node-leave" ? { kind, node: leaver.id } : { kind, node: leaver.id, force: true },
    };
    asked.request(request, 5_000, () => {});
  }

  #transfer(): void {
    const world = this.#world;
    const leader = world.running().find(({ node }) => node?.isManager === true);
    if (leader === undefined) return;
    world.count("transfer");
    if (this.#prng.chance(400)) {
      const node = this.#prng.pick([...world.hosts.keys()]);
      world.say(`${leader.id} is to hand over to ${node}`);
      leader.request({ kind: "transfer", node }, 5_000, () => {});
      return;
    }
    world.say(`${leader.id} is to hand over`);
    leader.deliver({ kind: "hand-over" });
  }

  /** Some call themselves leader and are not any more: these too. */
  #troubleLeader(): void {
    const world = this.#world;
    const leaders = world
      .running()
      .filter(({ node, isPaused }) => !isPaused && node?.replica.raft.role === "leader");
    if (leaders.length > 0) this.#trouble(this.#prng.pick(leaders));
  }

  #trouble(leader: Host): void {
    const world = this.#world;
    if (!leader.isUp || leader.isPaused) return;
    const others = [...world.hosts.values()].filter((host) => host !== leader);
    world.count("leader in trouble");
    // What a slow disk still holds back for one leader must not leave under the next.
    const [slow] = this.#prng.shuffle(others);
    if (slow !== undefined && this.#prng.chance(300)) this.#stall(slow);
    const trouble = this.#prng.pick(["crash", "pause", "pause", "stall", "cut", "cut"] as const);
    if (trouble === "crash") world.crash(leader, "crash");
    else if (trouble === "pause") this.#pause(leader);
    else if (trouble === "stall") this.#stall(leader);
    else this.#cutOff(leader, this.#prng.shuffle(others));
  }

  /** From all others or some of them, and soon another leads: what it still proposes is lost. */
  #cutOff(leader: Host, others: readonly Host[]): void {
    const world = this.#world;
    const away = this.#prng.chance(500)
      ? others
      : others.slice(this.#prng.below(Math.max(1, others.length)));
    const shape = this.#prng.pick(["mute", "deaf", "apart", "apart"] as const);
    world.say(`${leader.id} is ${shape}: ${away.map(({ id }) => id).join(" ")}`);
    for (const { id } of away) {
      if (shape !== "deaf") world.network.cut(leader.id, id);
      if (shape !== "mute") world.network.cut(id, leader.id);
    }
    world.queue.after(this.#prng.between(200, 4_000), () => {
      if (!world.faultsOn) return;
      for (const { id } of away) world.network.join(leader.id, id);
      // It comes back with what it alone holds, and no leader that would overwrite it.
      if (this.#prng.chance(400)) this.#troubleLeader();
    });
  }
}
