import { fstatSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { ERRORS, type Fault, fault, faultOf, OrchError } from "../lib/errors.ts";
import { readSettings, SETTINGS } from "./config.ts";
import { startDetached, tellStarter } from "./detach.ts";
import { isStrayNetworkError } from "./libp2p/stray.ts";
import { type Entry, type PreparedNode, prepareNode } from "./run.ts";
import { orchVersion } from "./version.ts";

/** The node process: `node/main.ts init|join|start`, and `recover`, which works on a node's folder instead. bin/orch turns into it, so its pid is the node's. */

function log(line: string): void {
  process.stderr.write(`${new Date().toISOString()} ${line}\n`);
}

function showFault({ code, message, hint, details }: Fault): void {
  process.stderr.write(`orch: ${message}\n`);
  if (hint !== "") process.stderr.write(`hint: ${hint}\n`);
  if (code === "bug" && typeof details["stack"] === "string")
    process.stderr.write(`${details["stack"]}\n`);
}

function die(reason: Fault): never {
  showFault(reason);
  process.exit(ERRORS[reason.code].exit);
}

type Flags = Readonly<Record<string, readonly string[]>>;

function withSettings(command: Command): Command {
  for (const { flag, value, help, many } of SETTINGS) {
    const name = value === null ? `--${flag}` : `--${flag} <${value}>`;
    const option = new Option(name, help);
    if (many)
      option.argParser((word: string, before: string[] | undefined) => [...(before ?? []), word]);
    command.addOption(option);
  }
  return command
    .option("--config <FILE>", "settings by the same names, in YAML (also ORCH_CONFIG)")
    .option("--detach", "run in the background once the node is ready");
}

/** The flags that were given, by name, each with its words. */
function given(command: Command): Flags {
  const flags: Record<string, readonly string[]> = {};
  for (const { flag, value } of SETTINGS) {
    // Commander turns --no-x into x = false.
    const key = flag
      .replace(/^no-/, "")
      .replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    if (command.getOptionValueSource(key) !== "cli") continue;
    const found: unknown = command.getOptionValue(key);
    if (value === null) flags[flag] = ["true"];
    else flags[flag] = Array.isArray(found) ? found.map(String) : [String(found)];
  }
  return flags;
}

async function run(entry: Entry, command: Command): Promise<void> {
  const options = command.opts<{ config?: string; detach?: true }>();
  const file = options.config ?? process.env["ORCH_CONFIG"] ?? null;
  const settings = readSettings(given(command), process.env, file, entry.kind === "start");
  if (options.detach === true) {
    process.exitCode = await startDetached(
      settings.dataDir,
      process.argv.slice(2).filter((word) => word !== "--detach"),
    );
    return;
  }
  process.on("uncaughtException", (error) => {
    if (isStrayNetworkError(error)) log(`ignored: ${error.message}`);
    else die(faultOf(error));
  });
  process.on("unhandledRejection", (error) => {
    if (error instanceof Error && isStrayNetworkError(error)) log(`ignored: ${error.message}`);
    else die(faultOf(error));
  });
  const leaving = Promise.withResolvers<void>();
  const node = await prepareNode(settings, entry, { log, fatal: die, left: leaving.resolve });
  // Whoever hears from the node may ask it to end at once.
  untilAsked(node, settings.ephemeral, leaving.promise);
  for (const line of await node.start()) process.stdout.write(`${line}\n`);
  tellStarter();
}

/** A node that has left says so to those who ask it, for as long as it takes them to ask once more. */
const FAREWELL_MS = 2_000;

/**
 * Ends the node in order on SIGTERM, SIGINT or SIGHUP, and when it has left its cluster; an ephemeral one also
 * when whoever started it is gone.
 */
function untilAsked(node: PreparedNode, ephemeral: boolean, left: Promise<void>): void {
  let ending = false;
  const end = (why: string): void => {
    if (ending) return;
    ending = true;
    log(`stopping: ${why}`);
    node.stop().then(
      () => process.exit(0),
      (error: unknown) => die(faultOf(error)),
    );
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
    process.on(signal, () => end(signal));
  void left.then(() => {
    log("this node has left its cluster; its data folder is of no further use");
    setTimeout(() => end("it left"), FAREWELL_MS);
  });
  if (!ephemeral) return;
  const stdin = fstatSync(0);
  if (!stdin.isFIFO() && !stdin.isSocket()) return;
  process.stdin.on("end", () => end("its starter is gone"));
  process.stdin.on("error", () => end("its starter is gone"));
  process.stdin.resume();
}

function program(): Command {
  const root = new Command("orch node")
    .version(orchVersion())
    .exitOverride()
    .configureOutput({ outputError: () => undefined });
  withSettings(
    root.command("init").description("make a cluster on this machine and run its first node"),
  ).action((_options: unknown, command: Command) => run({ kind: "init" }, command));
  withSettings(
    root
      .command("join")
      .description("run this machine's node and join it to a cluster")
      .argument("<peer>", "any member: host[:7400], a multiaddr, or its API URL")
      .option("--token <TOKEN>", "from `orch node token` on any member (also ORCH_JOIN_TOKEN)"),
  ).action((peer: string, _options: unknown, command: Command) => {
    const token = command.opts<{ token?: string }>().token ?? process.env["ORCH_JOIN_TOKEN"];
    if (token === undefined) {
      const hint = "Print it with `orch node token` on any member, and give it with --token.";
      throw new OrchError(fault("usage", "a node joins with the cluster's token", hint));
    }
    return run({ kind: "join", peer, token }, command);
  });
  withSettings(
    root.command("start").description("run the node again from its data directory"),
  ).action((_options: unknown, command: Command) => run({ kind: "start" }, command));
  root
    .command("recover")
    .configureHelp({ commandUsage: () => "orch cluster recover [options]" })
    .description("make a cluster of its own of a node whose cluster lost its quorum for good")
    .option("--data-dir <DIR>", "the node's data folder; the node must not run")
    .option("-y, --yes", "do not ask")
    .action(async (flags: { dataDir?: string; yes?: true }) => {
      const told = flags.dataDir === undefined ? {} : { "data-dir": [flags.dataDir] };
      const { dataDir } = readSettings(told, process.env, null, false);
      const { recoverCluster } = await import("./recover.ts");
      process.exitCode = await recoverCluster({ dataDir, yes: flags.yes === true });
    });
  return root;
}

try {
  await program().parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) process.exit(0);
    const sentence = error.message.replace(/^error: /, "");
    die(
      fault(
        "usage",
        sentence,
        "See `orch node init --help`; the flags of join and start are the same.",
      ),
    );
  }
  die(faultOf(error));
}
