import { expect, test } from "vitest";
import { plain, renderTable } from "./table.ts";

test("columns are aligned and no line ends in blanks", () => {
  const rows = [
    ["k3f-1", "running", ""],
    ["k3f-12", "failed", "exit 1"],
  ];
  expect(renderTable(["TASK", "STATE", "MESSAGE"], rows, null)).toEqual([
    "TASK    STATE    MESSAGE",
    "k3f-1   running",
    "k3f-12  failed   exit 1",
  ]);
});

test("a terminal's width cuts the end of a line, and only there", () => {
  const rows = [["k3f-1", "a message that goes on and on"]];
  const lines = renderTable(["TASK", "MESSAGE"], rows, 20);
  expect(lines).toEqual(["TASK   MESSAGE", "k3f-1  a message th…"]);
  expect(lines.every((line) => line.length <= 20)).toBe(true);
});

test("a task's message cannot move the cursor or break the line", () => {
  expect(plain("a\u001b[31mred\u001b[0m\nb\tc\u0007")).toBe("ared b c ");
  expect(renderTable(["M"], [["one\r\ntwo"]], null)).toEqual(["M", "one two"]);
});
