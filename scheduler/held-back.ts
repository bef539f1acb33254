import type { Brake } from "../state/brake.ts";
import type { Millis } from "../state/ids.ts";

/** What a task says that the brake keeps pending: why, until when, and what to do about it. */
export function heldBack({ down, nodes, untilMs }: Brake): string {
  return `held back until ${clockTime(untilMs)}: ${down.size} of ${nodes} nodes went down within a minute; \`orch cluster release\` places it now`;
}

/** The time of day in UTC, to the second. */
export function clockTime(timeMs: Millis): string {
  const seconds = Math.floor(timeMs / 1000);
  const parts = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  return `${parts.map((part) => String(part).padStart(2, "0")).join(":")}Z`;
}
