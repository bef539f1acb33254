import { describe, expect, it } from "vitest";
import { Progress } from "./progress.ts";

function replicating(match: number, next: number): Progress {
  const progress = new Progress(match + 1, 3, 1_000);
  progress.match = match;
  progress.becomeReplicate();
  if (next > match + 1) progress.sent(next - match - 1, 10);
  return progress;
}

describe("item 16: a follower's progress", () => {
  it("probing sends one message at a time", () => {
    const progress = new Progress(5, 3, 1_000);
    expect(progress.isPaused).toBe(false);
    progress.sent(2, 10);
    expect(progress.isPaused).toBe(true);
    expect(progress.next).toBe(5);
  });

  it("replicating is optimistic until the window is full", () => {
    const progress = replicating(4, 5);
    progress.sent(2, 10);
    progress.sent(1, 10);
    expect(progress.next).toBe(8);
    expect(progress.isPaused).toBe(false);
    progress.sent(1, 10);
    expect(progress.isPaused).toBe(true);
    progress.acknowledged(6);
    expect(progress.inflight).toBe(2);
    expect(progress.isPaused).toBe(false);
  });

  it("item 17: the window is bounded in bytes as well", () => {
    const progress = replicating(0, 1);
    progress.sent(1, 999);
    expect(progress.isPaused).toBe(false);
    progress.sent(1, 1);
    expect(progress.isPaused).toBe(true);
    progress.acknowledged(1);
    expect(progress.isPaused).toBe(false);
  });

  it("empty messages take no room in the window", () => {
    const progress = replicating(0, 1);
    for (let i = 0; i < 10; i++) progress.sent(0, 0);
    expect(progress.isPaused).toBe(false);
  });

  it.each([
    { name: "news", match: 3, next: 6, index: 5, news: true, after: { match: 5, next: 6 } },
    { name: "old", match: 3, next: 6, index: 2, news: false, after: { match: 3, next: 6 } },
    { name: "again", match: 3, next: 6, index: 3, news: false, after: { match: 3, next: 6 } },
    { name: "ahead", match: 3, next: 6, index: 8, news: true, after: { match: 8, next: 9 } },
  ])("an acknowledgement that is $name", ({ match, next, index, news, after }) => {
    const progress = replicating(match, next);
    expect(progress.acknowledged(index)).toBe(news);
    expect({ match: progress.match, next: progress.next }).toEqual(after);
  });

  it.each([
    {
      name: "replicating, of what it holds: stale",
      match: 5,
      next: 10,
      rejected: 5,
      stale: true,
      after: 10,
    },
    {
      name: "replicating, of an earlier one: stale",
      match: 5,
      next: 10,
      rejected: 4,
      stale: true,
      after: 10,
    },
    {
      name: "replicating, of later ones: probes",
      match: 5,
      next: 10,
      rejected: 9,
      stale: false,
      after: 6,
    },
  ])("a rejection while $name", ({ match, next, rejected, stale, after }) => {
    const progress = replicating(match, next);
    expect(progress.rejected(rejected, 0)).toBe(!stale);
    expect(progress.next).toBe(after);
    expect(progress.state).toBe(stale ? "replicate" : "probe");
    expect(progress.inflight).toBe(stale ? 1 : 0);
  });

  it.each([
    { name: "of another probe: stale", next: 10, rejected: 8, hint: 3, stale: true, after: 10 },
    { name: "back to the hint", next: 10, rejected: 9, hint: 3, stale: false, after: 4 },
    { name: "never forward", next: 10, rejected: 9, hint: 20, stale: false, after: 9 },
    { name: "never below what matches", next: 10, rejected: 9, hint: 0, stale: false, after: 3 },
  ])("a rejection while probing $name", ({ next, rejected, hint, stale, after }) => {
    const progress = new Progress(next, 3, 1_000);
    progress.match = 2;
    progress.sent(1, 10);
    expect(progress.rejected(rejected, hint)).toBe(!stale);
    expect(progress.next).toBe(after);
    expect(progress.paused).toBe(stale);
  });
});
