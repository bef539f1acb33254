import type { Prng } from "../../lib/prng.ts";
import type { Host } from "./host.ts";
import type { World } from "./world.ts";

const ASKED = 10;

/**
 * A leader falls whose last entries one other node alone has, in memory: its disk is slow. Who is elected then cuts
 * them off there, before what was promised of them could leave. `ask`: something of the leader. `isOn`: whether it
 * is to go on. Returns false where no node but the leader can be missed.
 */
export function strand(
  world: World,
  prng: Prng,
  leader: Host,
  ask: () => void,
  isOn: () => boolean,
): boolean {
  const { voters = [], learners = [] } = leader.node?.replica.membership ?? {};
  const others = world.running().filter((host) => host !== leader);
  const first = (ids: readonly number[]): Host | undefined =>
    others
      .filter((host) => ids.includes(raftIdOf(host)))
      .toSorted((a, b) => raftIdOf(a) - raftIdOf(b))[0];
  const learner = first(learners);
  // Of three voters it would be needed. The first of them is the first that stands: its candidacy is cut short too.
  const voter = voters.length >= 5 ? first(voters) : undefined;
  const slow = prng.chance(300) ? (learner ?? voter) : (voter ?? learner);
  if (slow === undefined) return false;
  world.count("stranded entries");
  world.say(`${leader.id} falls, and ${slow.id} with a slow disk alone has its last entries`);
  slow.stalledUntilMs = world.queue.nowMs + prng.between(2_000, 4_000);
  const part = (host: Host): void => {
    world.network.cut(leader.id, host.id);
    world.network.cut(host.id, leader.id);
  };
  for (const host of others) if (host !== slow) part(host);
  const everyMs = prng.between(10, 40);
  for (let i = 0; i < ASKED; i++) {
    world.queue.after(i * everyMs, () => {
      if (isOn() && leader.isUp) ask();
    });
  }
  world.queue.after(ASKED * everyMs, () => {
    if (isOn()) part(slow);
  });
  // Nothing that it sent arrives after the news that it is down: all stand at once.
  world.queue.after(ASKED * everyMs + world.options.delayMs.high + 1, () => {
    if (!isOn()) return;
    for (const { id } of others) world.network.join(leader.id, id);
    if (leader.isUp) world.crash(leader, "crash", 3_000);
  });
  return true;
}

function raftIdOf({ node }: Host): number {
  return node?.replica.raftId ?? 0;
}
