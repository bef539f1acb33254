const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `500ms`, `30s`, `1h30m`, or a bare number of seconds, in milliseconds; null when it is none of these. */
export function parseDurationMs(text: string): number | null {
  if (/^\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1_000);
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return null;
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(amount) * (UNITS_MS[unit ?? ""] ?? 0);
  }
  return Math.round(totalMs);
}

/** `--since`: a duration before `nowMs` or an ISO 8601 time, in epoch milliseconds; null when it is neither. */
export function parseSinceMs(text: string, nowMs: number): number | null {
  const durationMs = parseDurationMs(text);
  if (durationMs !== null) return nowMs - durationMs;
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return null;
  const timeMs = Date.parse(text);
  return Number.isNaN(timeMs) ? null : timeMs;
}

/** How long ago, in the largest whole unit: `0s`, `59s`, `3m`, `26h`, `4d`. Two days on, hours say too little. */
export function formatAge(ageMs: number): string {
  const seconds = Math.max(0, Math.floor(ageMs / 1_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
