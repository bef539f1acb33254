/** How well a few nodes are spread over failure domains: datacenters first, zones within them second. */

export interface Place {
  readonly datacenter: string;
  /** "" where none is told: all such nodes of a datacenter count as one zone. */
  readonly zone: string;
}

/**
 * How many of a group are in the same datacenter, and in the same zone of it. To add the node that is the
 * least crowded, again and again, gives the best spread there is: each datacenter is used before any is used
 * twice, then each zone.
 */
export interface Crowding {
  readonly datacenter: number;
  readonly zone: number;
}

export function crowding(place: Place, group: readonly Place[]): Crowding {
  let datacenter = 0;
  let zone = 0;
  for (const other of group) {
    if (other.datacenter !== place.datacenter) continue;
    datacenter += 1;
    if (other.zone === place.zone) zone += 1;
  }
  return { datacenter, zone };
}

/** Negative when `a` is less crowded than `b`. */
export function compareCrowding(a: Crowding, b: Crowding): number {
  return a.datacenter - b.datacenter || a.zone - b.zone;
}

/**
 * Up to `count` of `pool` that spread the group best; among equals the one that `compare` puts first.
 * O(count × pool).
 */
export function pickSpread<T extends Place>(
  pool: readonly T[],
  group: readonly Place[],
  count: number,
  compare: (a: T, b: T) => number,
): T[] {
  const picked: T[] = [];
  const taken = new Set<T>();
  while (picked.length < count) {
    const around = [...group, ...picked];
    let best: { readonly item: T; readonly crowd: Crowding } | null = null;
    for (const item of pool) {
      if (taken.has(item)) continue;
      const crowd = crowding(item, around);
      const order = best === null ? -1 : compareCrowding(crowd, best.crowd);
      if (best === null || order < 0 || (order === 0 && compare(item, best.item) < 0)) {
        best = { item, crowd };
      }
    }
    if (best === null) break;
    taken.add(best.item);
    picked.push(best.item);
  }
  return picked;
}

export interface Exchange<Out, In> {
  readonly out: Out;
  readonly in: In;
}

/**
 * The one exchange that improves the spread of `group` most, or null when none does. With all of `group`
 * but one allowed in `outs`, null means that no choice of nodes at all is spread better: exchanges one at
 * a time reach the best.
 */
export function bestExchange<Out extends Place, In extends Place>(
  group: readonly Place[],
  outs: readonly Out[],
  pool: readonly In[],
  compare: (a: Exchange<Out, In>, b: Exchange<Out, In>) => number,
): Exchange<Out, In> | null {
  let best: { readonly exchange: Exchange<Out, In>; readonly gain: Crowding } | null = null;
  for (const out of outs) {
    const rest = group.filter((place) => place !== out);
    const before = crowding(out, rest);
    for (const candidate of pool) {
      const after = crowding(candidate, rest);
      if (compareCrowding(after, before) >= 0) continue;
      const gain: Crowding = {
        datacenter: before.datacenter - after.datacenter,
        zone: before.zone - after.zone,
      };
      const exchange = { out, in: candidate };
      const order = best === null ? -1 : compareCrowding(best.gain, gain);
      if (best === null || order < 0 || (order === 0 && compare(exchange, best.exchange) < 0)) {
        best = { exchange, gain };
      }
    }
  }
  return best?.exchange ?? null;
}

/** The first of each failure domain by `compare`: all that a choice of one needs to look at. O(pool). */
export function firstPerDomain<T extends Place>(
  pool: readonly T[],
  compare: (a: T, b: T) => number,
): T[] {
  const byDatacenter = new Map<string, Map<string, T>>();
  for (const item of pool) {
    let zones = byDatacenter.get(item.datacenter);
    if (zones === undefined) byDatacenter.set(item.datacenter, (zones = new Map()));
    const known = zones.get(item.zone);
    if (known === undefined || compare(item, known) < 0) zones.set(item.zone, item);
  }
  return [...byDatacenter.values()].flatMap((zones) => [...zones.values()]);
}
