/** The candidate that a mistyped `name` most likely meant; null when none is near. Case counts for nothing. */
export function suggest(name: string, candidates: Iterable<string>): string | null {
  const wanted = name.toLowerCase();
  const reach = Math.max(1, Math.floor(wanted.length / 3));
  let best: string | null = null;
  let bestDistance = reach + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - wanted.length) >= bestDistance) continue;
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** A hint for "no such …": names the likely one, else the command that lists them all. */
export function didYouMean(name: string, candidates: Iterable<string>, listing: string): string {
  const near = suggest(name, candidates);
  return near === null ? `See \`${listing}\`.` : `Did you mean "${near}"? See \`${listing}\`.`;
}

/** Insertions, deletions, replacements and swaps of neighbours between two texts (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let twoBack: readonly number[] = [];
  let previous: readonly number[] = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped =
        a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (twoBack[j - 2] ?? j) + 1 : replaced;
      row.push(Math.min(replaced, swapped, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    twoBack = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
