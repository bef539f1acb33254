/** The signals that end a process, by number: the same on Linux and macOS but for those left out. */
const SIGNALS: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  6: "SIGABRT",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
};

/** What an exit code says to a person: "killed by SIGKILL" for 137; empty when it says nothing. */
export function exitMessage(exitCode: number): string {
  const signal = exitCode > 128 ? SIGNALS[exitCode - 128] : undefined;
  return signal === undefined ? "" : `killed by ${signal}`;
}
