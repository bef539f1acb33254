import { extname } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * V8's flags for a node. Half of the new space that V8 would take: some 25 MiB less of memory for an idle node and 100 for a busy one, and 5 % fewer
 * writes a second at most; a quarter of it would cost up to 40 %.
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=8"];

/** The commands of `orch node` that run a node; node/main.ts reads their flags. */
const NODE_COMMANDS: readonly string[] = ["init", "join", "start"];

export function isNodeCommand(word: string | undefined): boolean {
  return word !== undefined && NODE_COMMANDS.includes(word);
}

/** Whether the words are `cluster recover …`: it works on a data folder, as only the node's program can. */
export function isRecover(words: readonly string[]): boolean {
  return words[0] === "cluster" && words[1] === "recover";
}

/**
 * Replaces this process with the node, under the same pid, so that a supervisor's signals reach it.
 * `words`: the command and everything after it, unread.
 */
export function becomeNode(words: readonly string[]): never {
  const program = fileURLToPath(
    new URL(`../node/main${extname(import.meta.filename)}`, import.meta.url),
  );
  const execve = process.execve?.bind(process);
  if (execve === undefined)
    throw new Error("this Node has no process.execve; start orch with bin/orch");
  return execve(
    process.execPath,
    [process.execPath, ...NODE_FLAGS, ...process.execArgv, program, ...words],
    process.env,
  );
}
