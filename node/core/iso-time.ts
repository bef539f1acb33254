import type { Millis } from "../../state/ids.ts";

const DAY_MS = 86_400_000;
/** From 1 January 1970 back to 1 March of the year 0: years that start in March have their leap day last. */
const EPOCH_SHIFT_DAYS = 719_468;
const ERA_DAYS = 146_097;

/** Epoch milliseconds as ISO 8601 in UTC, as `Date` writes them, without the core's reaching for `Date`. */
export function isoTime(timeMs: Millis): string {
  const days = Math.floor(timeMs / DAY_MS);
  const { year, month, day } = civil(days);
  const ms = timeMs - days * DAY_MS;
  const clock = [
    Math.floor(ms / 3_600_000),
    Math.floor(ms / 60_000) % 60,
    Math.floor(ms / 1000) % 60,
  ];
  const date = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  return `${date}T${clock.map((part) => pad(part, 2)).join(":")}.${pad(ms % 1000, 3)}Z`;
}

export function isoTimeOrNull(timeMs: Millis | null): string | null {
  return timeMs === null ? null : isoTime(timeMs);
}

/** A day's date by the Gregorian calendar: 400 years are one era, always of the same number of days. */
function civil(daysSince1970: number): { year: number; month: number; day: number } {
  const days = daysSince1970 + EPOCH_SHIFT_DAYS;
  const era = Math.floor(days / ERA_DAYS);
  const inEra = days - era * ERA_DAYS;
  const leaps = Math.floor(inEra / 1460) - Math.floor(inEra / 36_524) + Math.floor(inEra / 146_096);
  const yearOfEra = Math.floor((inEra - leaps) / 365);
  const inYear =
    inEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const fromMarch = Math.floor((5 * inYear + 2) / 153);
  const day = inYear - Math.floor((153 * fromMarch + 2) / 5) + 1;
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
