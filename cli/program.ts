import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { ERRORS, fault, faultOf, OrchError } from "../lib/errors.ts";
import type { Fault } from "../lib/errors.ts";
import { parseAnswer } from "./boundary.ts";
import type { ConfigSetFlags } from "./commands/config.ts";
import type { DevFlags } from "./commands/dev.ts";
import type { EventFlags } from "./commands/events.ts";
import type { LogFlags } from "./commands/logs.ts";
import type { RunFlags } from "./commands/run.ts";
import { withContext } from "./context.ts";
import type { GlobalFlags } from "./context.ts";
import { helpStyle } from "./help.ts";

// A command's own module is imported when it runs: `orch ps` must not wait for what `orch dev` needs.

/** Reads the words after `orch`, runs the command and sets the process's exit code. Never throws. */
export async function runCli(words: readonly string[]): Promise<void> {
  const { printFault } = await import("./output.ts");
  // The reader of a pipe may leave (`orch logs -f | head`): nobody is left to tell.
  process.stdout.on("error", (error: NodeJS.ErrnoException) =>
    process.exit(error.code === "EPIPE" ? 0 : 1),
  );
  try {
    const program = buildProgram();
    if (words.length === 0) program.outputHelp();
    else await program.parseAsync(words, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const reason = error instanceof CommanderError ? usageFault(error) : faultOf(error);
    const options = words.includes("--") ? words.slice(0, words.indexOf("--")) : words;
    if (error instanceof CommanderError && error.code === "commander.help") {
      process.exitCode = ERRORS.usage.exit;
      return;
    }
    printFault(reason, options.includes("--json"));
    process.exitCode = ERRORS[reason.code].exit;
  }
}

const ERROR_PREFIX = /^error: /;

/** commander's own sentence, with its suggestion as the hint. */
function usageFault(error: CommanderError): Fault {
  const [sentence = "", suggestion] = error.message.replace(ERROR_PREFIX, "").split("\n");
  const hint =
    suggestion?.replace(/^\((.*)\)$/, "$1") ?? "See `orch --help`, or --help after a command.";
  return fault("usage", sentence, hint);
}

const AFTER_HELP = `
Which cluster: --host or ORCH_HOST; else the node of this machine; else a running \`orch dev\`.
Exit codes:    0 done, 1 failed, 64 usage, 69 no node reachable, 70 bug in orch,
               75 no manager in time (safe to repeat), 77 not allowed, 130 Ctrl-C.

Try it:        orch dev examples/hello/compose.yaml`;

function buildProgram(): Command {
  const program = new Command("orch")
    .description("Runs containers on machines that need no master: every node is alike.")
    .usage("<command> [options]")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "show help; also after a command")
    .helpCommand(false)
    .option(
      "--host <addresses>",
      "nodes to ask, in turn: unix:///path or http://address:port, by commas",
    )
    .option("--token <token>", "admin token, for http (else ORCH_TOKEN)")
    .option("--json", "print what the API answers; errors as JSON, too")
    .option("-q, --quiet", "print ids or names only")
    .option(
      "--timeout <duration>",
      "how long to look for a manager (default 30s; cluster status 3s), or to wait for a job or a leaving node (5m)",
    )
    .addHelpText("after", AFTER_HELP)
    .configureHelp(helpStyle())
    .configureOutput({ outputError: () => undefined })
    .exitOverride()
    .hook("preAction", (_program, command) => refuseEmpty(command));
  program.commandsGroup("Jobs:");
  addRun(program);
  addStop(program);
  addPs(program);
  addLogs(program);
  addJob(program);
  addConfig(program);
  program.commandsGroup("Cluster:");
  addNode(program);
  addCluster(program);
  addEvents(program);
  program.commandsGroup("This machine:");
  addDev(program);
  addVersion(program);
  inheritSettings(program);
  return program;
}

/** No argument is ever rightly empty: an unset variable of a script stands there. */
function refuseEmpty(command: Command): void {
  for (const [at, argument] of command.registeredArguments.entries()) {
    if (command.processedArgs[at] !== "") continue;
    const names: string[] = [];
    for (let named: Command | null = command; named !== null; named = named.parent)
      names.unshift(named.name());
    const title = `<${argument.name()}>`;
    throw new OrchError(
      fault(
        "usage",
        `${names.join(" ")}: the argument ${title} is empty`,
        `Give ${title} a value.`,
      ),
    );
  }
}

/** Subcommands made with addCommand or command() alike take over how errors and help are shown. */
function inheritSettings(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command).helpCommand(false);
    inheritSettings(child);
  }
}

function packageVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return parseAnswer<{ version: string }>(text).version;
}

function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

function flagsOf(command: Command): GlobalFlags {
  return command.optsWithGlobals<GlobalFlags>();
}

function addRun(program: Command): void {
  program
    .command("run")
    .summary("submit a Compose file, or one image, as a job and wait for it")
    .description(
      "Submits a Compose file (- for stdin), or one container with --image, and waits until it runs.",
    )
    .usage("FILE|- | --image IMAGE [options] [-- command…]")
    .argument("[file...]", "the file, or - for stdin; with --image the command, after --")
    .option(
      "--name <job>",
      "the job's name (default: the file's `name`, else its folder; with --image the image's)",
    )
    .option("--no-wait", "return once the cluster has taken the job")
    .option("--image <image>", "run this image instead of a file")
    .option("--replicas <n>", "how many (with --image)")
    .option("-p, --publish <[host:]port>", "publish a port (with --image; repeatable)", collect)
    .option("-e, --env <key=value>", "set a variable (with --image; repeatable)", collect)
    .option("--cpus <n>", "CPUs to reserve and allow (with --image)")
    .option("--memory <size>", "memory to reserve and allow, as 256m (with --image)")
    .option(
      "--constraint <expression>",
      "as node.labels.disk==ssd (with --image; repeatable)",
      collect,
    )
    .action(async (operands: string[], flags: RunFlags, command: Command) => {
      const { run } = await import("./commands/run.ts");
      await withContext(flagsOf(command), (context) => run(context, operands, flags));
    });
}

function addStop(program: Command): void {
  program
    .command("stop")
    .summary("stop a job, a service of it, or one task")
    .description("Stops a job or a service for good, or one task, whose slot then gets a new one.")
    .argument("<target>", "JOB, JOB.SERVICE, a slot JOB.SERVICE.N or a task id")
    .action(async (target: string, _flags: unknown, command: Command) => {
      const { stop } = await import("./commands/stop.ts");
      await withContext(flagsOf(command), (context) => stop(context, target));
    });
}

function addPs(program: Command): void {
  program
    .command("ps")
    .summary("list tasks")
    .description("Lists tasks, wherever they run.")
    .argument("[job]", "only of this job, or JOB.SERVICE")
    .option("-a, --all", "also those that are over")
    .option("--node <node>", "only on this node, by name or id")
    .action(
      async (
        job: string | undefined,
        flags: { all?: boolean; node?: string },
        command: Command,
      ) => {
        const { ps } = await import("./commands/ps.ts");
        await withContext(flagsOf(command), (context) =>
          ps(context, { job: job ?? null, all: flags.all ?? false, node: flags.node ?? null }),
        );
      },
    );
}

function addLogs(program: Command): void {
  program
    .command("logs")
    .summary("print the output of tasks, merged, wherever they run")
    .description("Prints the output of tasks, ordered by time; with --follow as it comes.")
    .argument("<target>", "JOB, JOB.SERVICE, a slot JOB.SERVICE.N or a task id")
    .option("-f, --follow", "go on as output comes, also of tasks that start later")
    .option("-n, --tail <lines>", "only the last lines of each task")
    .option("--since <time>", "only since then: a duration (10m) or an ISO time")
    .option("-t, --timestamps", "each line's time")
    .action(async (target: string, flags: LogFlags, command: Command) => {
      const { logs } = await import("./commands/logs.ts");
      await withContext(flagsOf(command), (context) => logs(context, target, flags));
    });
}

function addJob(program: Command): void {
  const job = program
    .command("job")
    .summary("list and look at jobs")
    .description("Lists and looks at jobs.")
    .commandsGroup("Jobs:");
  job
    .command("ls")
    .description("list jobs")
    .action(async (_flags: unknown, command: Command) => {
      const { jobLs } = await import("./commands/job.ts");
      await withContext(flagsOf(command), jobLs);
    });
  job
    .command("status")
    .description("a job's services and tasks")
    .argument("<job>")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { jobStatus } = await import("./commands/job.ts");
      await withContext(flagsOf(command), (context) => jobStatus(context, name));
    });
  job
    .command("inspect")
    .description("all that the API says of a job, as JSON")
    .argument("<job>")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { jobInspect } = await import("./commands/job.ts");
      await withContext(flagsOf(command), (context) => jobInspect(context, name));
    });
}

function addConfig(program: Command): void {
  const config = program
    .command("config")
    .summary("keep small versioned files in the cluster")
    .description("Keeps small versioned files in the cluster.")
    .commandsGroup("Jobs:");
  config
    .command("set")
    .description("set a config's content from a file, or - for stdin")
    .argument("<name>")
    .argument("<file>", "the file, or - for stdin")
    .option("--if-version <n>", "only if it is at this version now; 0: only if it does not exist")
    .action(async (name: string, file: string, flags: ConfigSetFlags, command: Command) => {
      const { configSet } = await import("./commands/config.ts");
      await withContext(flagsOf(command), (context) => configSet(context, name, file, flags));
    });
  config
    .command("get")
    .description("print a config's content, byte for byte")
    .argument("<name>")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { configGet } = await import("./commands/config.ts");
      await withContext(flagsOf(command), (context) => configGet(context, name));
    });
  config
    .command("ls")
    .description("list configs")
    .action(async (_flags: unknown, command: Command) => {
      const { configLs } = await import("./commands/config.ts");
      await withContext(flagsOf(command), configLs);
    });
  config
    .command("rm")
    .description("remove a config")
    .argument("<name>")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { configRm } = await import("./commands/config.ts");
      await withContext(flagsOf(command), (context) => configRm(context, name));
    });
}

const NODE_PROGRAMS = [
  ["init", "create a cluster on this machine and run its first node"],
  ["join", "run this machine's node and join a cluster"],
  ["start", "run the node again from its data directory"],
] as const;

function addNode(program: Command): void {
  const node = program
    .command("node")
    .summary("run this machine's node; list nodes, take them out; print the join token")
    .description("Runs this machine's node, and looks after all nodes.")
    .commandsGroup("Cluster:");
  for (const [name, summary] of NODE_PROGRAMS) {
    // Reached only when a flag stands before `node`: main.ts sees all others first.
    node
      .command(name)
      .description(summary)
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .action(async (_flags: unknown, command: Command) => {
        const { becomeNode } = await import("./become-node.ts");
        becomeNode([name, ...command.args]);
      });
  }
  node
    .command("ls")
    .description("list nodes")
    .action(async (_flags: unknown, command: Command) => {
      const { nodeLs } = await import("./commands/node.ts");
      await withContext(flagsOf(command), nodeLs);
    });
  node
    .command("inspect")
    .description("all that the API says of a node, as JSON")
    .argument("<node>", "name or id")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { nodeInspect } = await import("./commands/node.ts");
      await withContext(flagsOf(command), (context) => nodeInspect(context, name));
    });
  node
    .command("leave")
    .description("have a node leave: its tasks move, its vote goes to another, its process ends")
    .argument("[node]", "name or id (default: the node that is asked, this machine's)")
    .option("--no-wait", "return once the cluster has taken it in")
    .action(async (name: string | undefined, flags: { wait: boolean }, command: Command) => {
      const { nodeLeave } = await import("./commands/node-leave.ts");
      await withContext(flagsOf(command), (context) =>
        nodeLeave(context, name ?? null, flags.wait),
      );
    });
  node
    .command("rm")
    .description("remove a node that is gone for good")
    .argument("<node>", "name or id")
    .option("--force", "also one that is up: what it runs is stopped by itself only")
    .action(async (name: string, flags: { force?: boolean }, command: Command) => {
      const { nodeRm } = await import("./commands/node-leave.ts");
      await withContext(flagsOf(command), (context) => nodeRm(context, name, flags.force ?? false));
    });
  node
    .command("token")
    .description("print the token that lets a machine join")
    .option("--rotate", "make another one first: with those before nobody can join any more")
    .action(async (flags: { rotate?: true }, command: Command) => {
      const { nodeToken } = await import("./commands/node.ts");
      await withContext(flagsOf(command), (context) => nodeToken(context, flags.rotate ?? false));
    });
}

function addCluster(program: Command): void {
  const cluster = program
    .command("cluster")
    .summary("how the cluster is; hand over, release, back up, restore, recover")
    .description("Looks after the cluster as a whole.")
    .commandsGroup("Cluster:");
  cluster
    .command("status")
    .description("manager, voters, quorum, nodes and tasks")
    .action(async (_flags: unknown, command: Command) => {
      const { clusterStatus } = await import("./commands/cluster.ts");
      await withContext(flagsOf(command), clusterStatus);
    });
  cluster
    .command("transfer")
    .description("have another voter manage")
    .argument("[node]", "which, by name or id (default: the one that is most up to date)")
    .action(async (node: string | undefined, _flags: unknown, command: Command) => {
      const { clusterTransfer } = await import("./commands/cluster.ts");
      await withContext(flagsOf(command), (context) => clusterTransfer(context, node ?? null));
    });
  cluster
    .command("release")
    .description("replace the tasks of nodes that went down at once now, not when the brake ends")
    .action(async (_flags: unknown, command: Command) => {
      const { clusterRelease } = await import("./commands/cluster.ts");
      await withContext(flagsOf(command), clusterRelease);
    });
  cluster
    .command("backup")
    .description("write all jobs, configs and tasks as they are now to a file, or - for stdout")
    .argument("<file>", "the file, which is replaced; or - for stdout")
    .action(async (file: string, _flags: unknown, command: Command) => {
      const { clusterBackup } = await import("./commands/backup.ts");
      await withContext(flagsOf(command), (context) => clusterBackup(context, file));
    });
  cluster
    .command("restore")
    .description("put back the jobs and configs of a backup that the cluster does not have")
    .argument("<file>", "the backup, or - for stdin")
    .option("--dry-run", "only say what would be put back")
    .action(async (file: string, flags: { dryRun?: boolean }, command: Command) => {
      const { clusterRestore } = await import("./commands/restore.ts");
      await withContext(flagsOf(command), (context) =>
        clusterRestore(context, file, flags.dryRun ?? false),
      );
    });
  cluster
    .command("recover")
    .description("make a cluster of its own of one survivor's data folder, its quorum being lost")
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_flags: unknown, command: Command) => {
      // Reached only when a flag stands before `cluster`: main.ts sees all others first.
      const { becomeNode } = await import("./become-node.ts");
      becomeNode(["recover", ...command.args]);
    });
}

function addEvents(program: Command): void {
  program
    .command("events")
    .summary("print the replicated task log")
    .description("Prints the replicated task log: every change of every task, with its reason.")
    .option("-f, --follow", "go on as events come")
    .option(
      "--since <index|time>",
      "only after a log index, or since a duration (10m) or an ISO time",
    )
    .option("--job <job>", "only of this job")
    .action(async (flags: EventFlags, command: Command) => {
      const { events } = await import("./commands/events.ts");
      await withContext(flagsOf(command), (context) => events(context, flags));
    });
}

function addDev(program: Command): void {
  program
    .command("dev")
    .summary("run a whole cluster on this machine until Ctrl-C")
    .description(
      "Runs a whole cluster on this machine, a process a node, submits FILE if given, and ends all of it on Ctrl-C.",
    )
    .argument("[file]", "a Compose file to run on it")
    .option("--nodes <n>", "how many nodes", "3")
    .addOption(
      new Option(
        "--driver <driver>",
        "only this runtime (default: Docker if an engine answers, and plain processes)",
      ).choices(["docker", "process"]),
    )
    .action(async (file: string | undefined, flags: DevFlags, command: Command) => {
      const { dev } = await import("./commands/dev.ts");
      await dev(file ?? null, flags, flagsOf(command));
    });
}

function addVersion(program: Command): void {
  program
    .command("version")
    .summary("print the version")
    .description("Prints the version of this program and of the Node that it runs on.")
    .action(async (_flags: unknown, command: Command) => {
      const { version } = await import("./commands/version.ts");
      version(packageVersion(), flagsOf(command));
    });
}
