import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyChange, type Membership, NO_MEMBERS } from "../../consensus/membership.ts";
import { Prng } from "../../lib/prng.ts";
import { autopilot } from "./autopilot.ts";
import { EXCHANGE_MS, LEADER_CALM_MS, STABLE_MS, STANDBYS } from "./defaults.ts";
import { type Candidate, type PilotInput, type PilotStep, voterTarget } from "./pilot-survey.ts";
import { crowding, pickSpread, type Place } from "./spread.ts";

/**
 * Clusters whose nodes come, go, die, return and move, without Raft: a change takes effect at once, a joint
 * configuration is left at once, a learner catches up after a while, and a leader is whoever can be one.
 */

interface Machine {
  readonly id: number;
  up: boolean;
  changedMs: number;
  mayVote: boolean;
  leaving: boolean;
  datacenter: string;
  zone: string;
  caughtUpMs: number;
}

interface Options {
  readonly seed: number;
  readonly nodes: number;
  readonly datacenters: number;
  readonly zones: number;
  readonly maxVoters: number;
  readonly tickMs: number;
}

const REPLACE_AFTER_MS = 30_000;

function eligible({ mayVote, leaving }: Machine | Candidate): boolean {
  return mayVote && !leaving;
}

class Cluster {
  readonly machines: Map<number, Machine> = new Map();
  readonly prng: Prng;
  readonly #options: Options;
  membership: Membership = { ...NO_MEMBERS, voters: [1] };
  leader: number | null = 1;
  leaderSinceMs = 0;
  lastChangeMs: number | null = null;
  nowMs = 0;
  voterChanges = 0;
  steps = 0;
  #nextId = 1;

  constructor(options: Options) {
    this.#options = options;
    this.prng = new Prng(options.seed);
    for (let i = 0; i < options.nodes; i++) this.join();
  }

  join(): void {
    const { datacenters, zones } = this.#options;
    const id = this.#nextId++;
    this.machines.set(id, {
      id,
      up: true,
      changedMs: this.nowMs,
      mayVote: true,
      leaving: false,
      datacenter: `d${this.prng.below(datacenters)}`,
      zone: `z${this.prng.below(zones)}`,
      caughtUpMs: id === 1 ? 0 : Infinity,
    });
  }

  turn(machine: Machine, up: boolean): void {
    if (machine.up === up) return;
    machine.up = up;
    machine.changedMs = this.nowMs;
    if (up && Number.isFinite(machine.caughtUpMs)) {
      machine.caughtUpMs = this.nowMs + this.prng.below(5_000);
    }
  }

  isUp(id: number): boolean {
    return this.machines.get(id)?.up === true;
  }

  /** Takes a node's record away by force, as an operator may whose cluster stays able to commit. */
  forget(id: number): void {
    const { voters } = this.membership;
    const left = voters.filter((voter) => voter !== id && this.machines.has(voter)).length;
    if (left > voters.length / 2) this.machines.delete(id);
  }

  elect(): void {
    const { voters } = this.membership;
    const up = voters.filter((id) => this.isUp(id));
    const hasQuorum = up.length > voters.length / 2;
    const leads = this.leader !== null && up.includes(this.leader);
    if (hasQuorum && leads) return;
    const able = up.filter((id) => (this.machines.get(id)?.caughtUpMs ?? 0) <= this.nowMs);
    this.lead(hasQuorum && able.length > 0 ? this.prng.pick(able) : null);
  }

  lead(id: number | null): void {
    if (id !== this.leader) this.leaderSinceMs = this.nowMs;
    this.leader = id;
    this.lastChangeMs = null;
  }

  input(leader: number): PilotInput {
    const { membership, leaderSinceMs, lastChangeMs, nowMs } = this;
    const held = new Set([...membership.voters, ...membership.learners]);
    const isDeaf = nowMs - leaderSinceMs < 1_000 && nowMs > 1_000;
    const candidates: Candidate[] = [];
    for (const machine of this.machines.values()) {
      candidates.push({
        raftId: machine.id,
        alive: machine.up && (!isDeaf || machine.id === leader),
        sinceMs: Math.max(machine.changedMs, leaderSinceMs),
        mayVote: machine.mayVote,
        leaving: machine.leaving,
        isHidden: false,
        caughtUp: held.has(machine.id) && machine.up && machine.caughtUpMs <= nowMs,
        datacenter: machine.datacenter,
        zone: machine.zone,
      });
    }
    const { maxVoters } = this.#options;
    const config = { replaceAfterMs: REPLACE_AFTER_MS, maxVoters };
    const failedHeirs: readonly number[] = [];
    const since = { leaderSinceMs, lastChangeMs, nowMs };
    return { membership, candidates, leader, failedHeirs, config, ...since };
  }

  /** Time passes, a leader is found and asks. */
  tick(): PilotStep | null {
    this.nowMs += this.#options.tickMs;
    this.elect();
    if (this.leader === null) return null;
    const input = this.input(this.leader);
    const step = autopilot(input);
    if (step !== null) this.#take(input, step);
    for (const { id, leaving } of this.machines.values()) {
      const { voters, learners } = this.membership;
      if (leaving && !voters.includes(id) && !learners.includes(id)) this.machines.delete(id);
    }
    return step;
  }

  #take(input: PilotInput, step: PilotStep): void {
    this.steps += 1;
    if (step.kind === "transfer") {
      checkTransfer(input, step.to);
      this.lead(step.to);
      return;
    }
    const next = enact(this.membership, step);
    checkChange(input, next);
    if (String(next.voters) !== String(this.membership.voters)) this.voterChanges += 1;
    for (const { op, id } of step.change.changes) {
      const machine = this.machines.get(id);
      if (machine === undefined) continue;
      if (op === "remove") machine.caughtUpMs = Infinity;
      const isNew = op === "add-learner" && !this.membership.voters.includes(id);
      if (isNew) machine.caughtUpMs = this.nowMs + this.prng.below(8_000);
    }
    this.membership = next;
    this.lastChangeMs = this.nowMs;
  }
}

function enact(membership: Membership, step: PilotStep & { kind: "change" }): Membership {
  let outcome = applyChange(membership, step.change);
  if (outcome.kind === "changed" && outcome.membership.outgoing.length > 0) {
    outcome = applyChange(outcome.membership, { changes: [] });
  }
  if (outcome.kind === "refused") throw new Error(outcome.reason);
  return outcome.membership;
}

function checkTransfer({ membership, candidates, leader }: PilotInput, to: number): void {
  const own = candidates.find(({ raftId }) => raftId === leader);
  expect(own === undefined || !eligible(own), "a leader that may stay does").toBe(true);
  expect(membership.voters).toContain(to);
  const heir = candidates.find(({ raftId }) => raftId === to);
  expect(heir).toMatchObject({ alive: true, caughtUp: true, mayVote: true, leaving: false });
}

/** Pairs in one datacenter and, by far less, pairs in one zone. */
function cost(group: readonly Place[]): number {
  return group.reduce((sum, place, i) => {
    const { datacenter, zone } = crowding(place, group.slice(0, i));
    return sum + datacenter * 1_000 + zone;
  }, 0);
}

function checkChange(input: PilotInput, next: Membership): void {
  const { membership: before, candidates, leader, nowMs, leaderSinceMs, lastChangeMs } = input;
  const held = [before.voters, before.learners, next.voters, next.learners].flat();
  const byId = new Map(
    candidates.flatMap((node) => (held.includes(node.raftId) ? [[node.raftId, node]] : [])),
  );
  const isAlive = (id: number): boolean => id === leader || byId.get(id)?.alive === true;
  const mayStay = (id: number): boolean => {
    const node = byId.get(id);
    return node !== undefined && eligible(node);
  };
  const places = (ids: readonly number[]): Candidate[] => ids.flatMap((id) => byId.get(id) ?? []);

  for (const voters of [before.voters, next.voters]) {
    expect(voters.filter(isAlive).length, "a quorum lives").toBeGreaterThan(voters.length / 2);
  }
  expect(next.voters, "no leader removes itself").toContain(leader);
  const joins = next.voters.filter((id) => !before.voters.includes(id));
  for (const id of joins) {
    expect(before.learners, "learner first").toContain(id);
    const fit = { alive: true, caughtUp: true, mayVote: true, leaving: false };
    expect(byId.get(id)).toMatchObject(fit);
  }
  for (const id of next.learners.filter((learner) => !before.learners.includes(learner))) {
    expect(mayStay(id), "a standby may vote").toBe(true);
  }
  expect(next.learners.length).toBeLessThanOrEqual(
    Math.max(before.learners.length, 2 * STANDBYS + input.config.maxVoters),
  );

  expect(next.voters.length, "two more at most").toBeLessThanOrEqual(before.voters.length + 2);

  const all = candidates.filter(eligible);
  const outs = before.voters.filter((id) => !mayStay(id));
  const others = all.filter(({ raftId, alive }) => alive && !before.voters.includes(raftId));
  const leaves = before.voters.filter((id) => !next.voters.includes(id));
  if (next.voters.length % 2 === 0) {
    // Someone goes and nobody is left to come, or the lone leader goes and only one can follow.
    const isForced = outs.length > 0 && (others.length === 0 || before.voters.length === 1);
    expect(isForced || before.voters.length % 2 === 0, "an even number").toBe(true);
  }
  if (next.voters.length < Math.min(3, before.voters.length)) {
    expect(all.length < 3 || outs.length > 0, "fewer than three").toBe(true);
  }
  const given = leaves.filter(mayStay);
  if (given.length === 0 || joins.length + leaves.length === 0) return;
  if (next.voters.length < before.voters.length) {
    const target = voterTarget(all.length, input.config.maxVoters);
    expect(target < before.voters.length || others.length === 0, "it shrinks").toBe(true);
    return;
  }
  for (const node of places(given)) {
    if (!node.alive) {
      expect(nowMs - node.sinceMs, "it was waited for").toBeGreaterThanOrEqual(REPLACE_AFTER_MS);
      continue;
    }
    expect(cost(places(next.voters))).toBeLessThan(cost(places(before.voters)));
    expect(nowMs - leaderSinceMs).toBeGreaterThanOrEqual(LEADER_CALM_MS);
    expect(nowMs - (lastChangeMs ?? -EXCHANGE_MS)).toBeGreaterThanOrEqual(EXCHANGE_MS);
    expect(given).toHaveLength(1);
    for (const join of places(joins)) {
      expect(nowMs - join.sinceMs).toBeGreaterThanOrEqual(STABLE_MS);
    }
  }
}

function befall(cluster: Cluster): void {
  const { prng, machines } = cluster;
  const machine = prng.pick([...machines.values()]);
  const spare = [...machines.values()].filter((other) => other !== machine && eligible(other));
  switch (prng.below(9)) {
    case 0:
    case 1:
    case 2:
      cluster.turn(machine, false);
      return;
    case 3:
    case 4:
      for (const other of machines.values()) if (prng.chance(700)) cluster.turn(other, true);
      return;
    case 5:
      if (machines.size < 14) cluster.join();
      return;
    case 6:
      if (spare.length > 0) machine.leaving = true;
      return;
    case 7:
      if (spare.length > 0 && prng.chance(500)) machine.mayVote = false;
      else machine.mayVote = true;
      if (spare.length > 0 && prng.chance(300)) cluster.forget(machine.id);
      return;
    default:
      machine.datacenter = `d${prng.below(3)}`;
      machine.zone = `z${prng.below(2)}`;
  }
}

/** Until nothing was wanted for two minutes. */
function rest(cluster: Cluster): void {
  const from = { nowMs: cluster.nowMs, steps: cluster.steps };
  for (let quietMs = 0; quietMs < 120_000; quietMs += 500) {
    if (cluster.tick() !== null) quietMs = 0;
    expect(cluster.nowMs - from.nowMs, "it comes to rest").toBeLessThan(1_500_000);
  }
  expect(cluster.steps - from.steps, "in few steps").toBeLessThanOrEqual(30);
}

describe("whatever befalls the nodes", () => {
  const anyOptions = fc.record({
    seed: fc.integer({ min: 0, max: 1_000_000_000 }),
    nodes: fc.integer({ min: 1, max: 11 }),
    datacenters: fc.integer({ min: 1, max: 4 }),
    zones: fc.integer({ min: 1, max: 3 }),
    maxVoters: fc.constantFrom(3, 5, 7),
    tickMs: fc.constant(500),
  });

  it("each change is sound, and in the end the voters are as many and as spread as can be", () => {
    fc.assert(
      fc.property(anyOptions, fc.integer({ min: 5, max: 60 }), (options, perMille) => {
        const cluster = new Cluster(options);
        for (let i = 0; i < 800; i++) {
          if (cluster.prng.chance(perMille)) befall(cluster);
          cluster.tick();
        }
        for (const machine of cluster.machines.values()) cluster.turn(machine, true);
        rest(cluster);
        const all = [...cluster.machines.values()].filter(eligible);
        const { voters, learners } = cluster.membership;
        const target = voterTarget(all.length, options.maxVoters);
        expect(voters).toHaveLength(target);
        expect(learners).toHaveLength(Math.min(STANDBYS, all.length - target));
        for (const id of [...voters, ...learners]) {
          expect(all.map((machine) => machine.id)).toContain(id);
        }
        const best = pickSpread(all, [], target, (a, b) => a.id - b.id);
        expect(cost(all.filter(({ id }) => voters.includes(id)))).toBe(cost(best));
      }),
      { numRuns: 200 },
    );
  }, 60_000);

  it("all comes to rest, though some nodes are away for good", () => {
    fc.assert(
      fc.property(anyOptions, fc.integer({ min: 5, max: 60 }), (options, perMille) => {
        const cluster = new Cluster(options);
        for (let i = 0; i < 800; i++) {
          if (cluster.prng.chance(perMille)) befall(cluster);
          cluster.tick();
        }
        rest(cluster);
        if (cluster.leader === null) return;
        const { voters } = cluster.membership;
        const spare = [...cluster.machines.values()].filter(
          ({ id, up, mayVote }) => up && mayVote && !voters.includes(id),
        );
        const dead = voters.filter((id) => !cluster.isUp(id));
        expect(
          Math.min(spare.length, dead.length),
          "nobody alive waits for a dead one's seat",
        ).toBe(0);
      }),
      { numRuns: 200 },
    );
  }, 60_000);

  it("a fresh cluster has three voters within five ticks after its learners have the log", () => {
    const options = { datacenters: 1, zones: 1, maxVoters: 5, tickMs: 500 };
    for (let seed = 0; seed < 20; seed++) {
      const cluster = new Cluster({ ...options, seed, nodes: 1 });
      // Long after the first leader's start, and one node after the other.
      for (let i = 0; i < 100; i++) cluster.tick();
      cluster.join();
      cluster.tick();
      cluster.join();
      cluster.tick();
      expect(cluster.membership.learners).toEqual([2, 3]);
      for (const machine of cluster.machines.values()) machine.caughtUpMs = 0;
      for (let i = 0; i < 5; i++) cluster.tick();
      expect(cluster.membership.voters).toEqual([1, 2, 3]);
    }
  });
});

describe("5,000 nodes, a tenth of which die or leave every minute", () => {
  it("change less than one voter a minute", () => {
    const nodes = 5_000;
    const minutes = 20;
    const cluster = new Cluster({
      seed: 7,
      nodes,
      datacenters: 3,
      zones: 3,
      maxVoters: 5,
      tickMs: 1_000,
    });
    const { prng } = cluster;
    for (let i = 0; i < 120; i++) cluster.tick();
    expect(cluster.membership.voters).toHaveLength(5);
    const start = cluster.voterChanges;
    const back: { readonly id: number; readonly atMs: number }[] = [];
    for (let second = 0; second < minutes * 60; second++) {
      const ids = [...cluster.machines.keys()];
      for (let i = 0; i < nodes / 10 / 60; i++) {
        const machine = cluster.machines.get(prng.pick(ids));
        if (machine === undefined) continue;
        if (prng.chance(200)) {
          machine.leaving = true;
          cluster.join();
        } else {
          cluster.turn(machine, false);
          back.push({ id: machine.id, atMs: cluster.nowMs + prng.between(5_000, 300_000) });
        }
      }
      for (let i = back.length - 1; i >= 0; i--) {
        const { id, atMs } = back[i] ?? { id: 0, atMs: Infinity };
        if (atMs > cluster.nowMs) continue;
        back.splice(i, 1);
        const machine = cluster.machines.get(id);
        if (machine !== undefined) cluster.turn(machine, true);
      }
      cluster.tick();
    }
    const changes = cluster.voterChanges - start;
    expect(changes).toBeGreaterThan(0);
    expect(changes / minutes).toBeLessThan(1);
  }, 60_000);
});
