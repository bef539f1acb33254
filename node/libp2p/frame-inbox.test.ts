import { expect, test } from "vitest";
import { FrameInbox } from "./frame-inbox.ts";

const never = new AbortController().signal;

test("frames are read in order, and each tells when it was taken", async () => {
  const inbox = new FrameInbox();
  const taken: number[] = [];
  for (const type of [1, 2]) void inbox.push(type, new Uint8Array()).then(() => taken.push(type));
  expect((await inbox.next(never)).type).toBe(1);
  expect(taken).toEqual([1]);
  expect((await inbox.next(never)).type).toBe(2);
});

test("a reader that waits gets the frame that comes", async () => {
  const inbox = new FrameInbox();
  const next = inbox.next(never);
  void inbox.push(7, Uint8Array.of(1));
  expect(await next).toMatchObject({ type: 7, payload: Uint8Array.of(1) });
});

test("what came before the end is still read", async () => {
  const inbox = new FrameInbox();
  void inbox.push(1, new Uint8Array());
  inbox.fail(new Error("gone"));
  expect((await inbox.next(never)).type).toBe(1);
  await expect(inbox.next(never)).rejects.toThrow("gone");
});

test("a signal ends the wait", async () => {
  const inbox = new FrameInbox();
  const control = new AbortController();
  const next = inbox.next(control.signal);
  control.abort(new Error("enough"));
  await expect(next).rejects.toThrow("enough");
  await expect(inbox.next(control.signal)).rejects.toThrow("enough");
});
