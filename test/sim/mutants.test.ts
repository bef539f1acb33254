import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { LEASE_MUTANTS } from "./mutants-lease.ts";
import { NODE_MUTANTS } from "./mutants-node.ts";
import { RAFT_MUTANTS } from "./mutants-raft.ts";

const MUTANTS = [...RAFT_MUTANTS, ...NODE_MUTANTS, ...LEASE_MUTANTS].map(({ name, file, find }) => {
  return { name, file, find };
});

test.each(MUTANTS)("its place is there once: $name", ({ file, find }) => {
  const source = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
  expect(source.split(find)).toHaveLength(2);
});
