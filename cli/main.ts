import { becomeNode, isNodeCommand, isRecover } from "./become-node.ts";

// `orch node init|join|start` is the node itself: this process turns into it before anything else is loaded.
const words = process.argv.slice(2);
if (words[0] === "node" && isNodeCommand(words[1])) becomeNode(words.slice(1));
if (isRecover(words)) becomeNode(words.slice(1));

const { runCli } = await import("./program.ts");
await runCli(words);
