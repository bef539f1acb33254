import { Help } from "commander";
import type { Argument, Command, HelpConfiguration, Option } from "commander";

/** How help looks: commands first, then options; the root's lists every command that there is. */
export function helpStyle(): HelpConfiguration {
  return {
    showGlobalOptions: true,
    // Wider lines than these are hard to read, narrower columns too.
    helpWidth: Math.min(Math.max(process.stdout.columns ?? 100, 60), 100),
    subcommandTerm,
    visibleCommands: (command) =>
      command.parent === null ? leaves(command) : [...command.commands],
    visibleGlobalOptions,
    formatHelp: (command, helper) =>
      commandsFirst(Help.prototype.formatHelp.call(helper, command, helper)),
  };
}

function leaves(command: Command): Command[] {
  return command.commands.flatMap((child) => (child.commands.length > 0 ? leaves(child) : [child]));
}

/** `node inspect <node>`: the words to type, without the options, which its own help lists. */
function subcommandTerm(command: Command): string {
  const words = [command.name()];
  for (let above = command.parent; above !== null && above.parent !== null; above = above.parent) {
    words.unshift(above.name());
  }
  return [...words, ...command.registeredArguments.map(argumentTerm)].join(" ");
}

function argumentTerm(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

/** Those that change what a command does; `--version` belongs to the root alone. */
function visibleGlobalOptions(command: Command): Option[] {
  const found: Option[] = [];
  for (let above = command.parent; above !== null; above = above.parent) {
    found.push(...above.options.filter((option) => !option.hidden && option.long !== "--version"));
  }
  return found;
}

function isOptions(section: string): boolean {
  return /^(Global )?Options:/.test(section);
}

/** Sections are parted by empty lines; options are looked up, commands are looked for. */
function commandsFirst(help: string): string {
  const sections = help.trimEnd().split("\n\n");
  return `${[...sections.filter((section) => !isOptions(section)), ...sections.filter(isOptions)].join("\n\n")}\n`;
}
