import { expect, test } from "vitest";
import { taskView } from "./test-views.ts";
import { bySlot, stateText, taskUrls } from "./views.ts";

test("slots are ordered by their number, not by its digits", () => {
  const slots = ["hello.web.10", "hello.web.2", "hello.db.1", "app.web.3"].map((slot) => {
    const [job = "", service = ""] = slot.split(".");
    return taskView({ slot, job, service });
  });
  expect(slots.toSorted(bySlot).map(({ slot }) => slot)).toEqual([
    "app.web.3",
    "hello.db.1",
    "hello.web.2",
    "hello.web.10",
  ]);
});

test("a state says what is known of health, starts and the exit code", () => {
  expect(stateText(taskView())).toBe("running");
  expect(stateText(taskView({ healthy: true, attempts: 4 }))).toBe("running (healthy, 4 starts)");
  expect(stateText(taskView({ state: "failed", exitCode: 137 }))).toBe("failed (exit 137)");
  expect(stateText(taskView({ state: "complete", exitCode: 0 }))).toBe("complete");
});

test("only TCP ports of running tasks have a URL", () => {
  const port = { host: 20_001, container: 80, protocol: "tcp", address: "::1" };
  const running = taskView({ ports: [port, { ...port, protocol: "udp" }] });
  expect(taskUrls([running, taskView({ state: "failed" })]).map(({ url }) => url)).toEqual([
    "http://[::1]:20001/",
  ]);
});
