import type { GlobalFlags } from "../context.ts";
import { print, printJson } from "../output.ts";

export function version(packageVersion: string, flags: GlobalFlags): void {
  if (flags.json) printJson({ version: packageVersion, node: process.version });
  else if (flags.quiet) print(packageVersion);
  else print(`orch ${packageVersion} (Node ${process.version})`);
}
