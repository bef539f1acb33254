/** What benchmarks make of their command lines. */

/** A whole number from 0 on; ends the program with 2 where it is none. */
export function count(word: string, flag: string): number {
  const value = Number(word);
  return Number.isSafeInteger(value) && value >= 0
    ? value
    : refuse(`${flag}: "${word}" is not a number from 0 on`);
}

/** Ends the program with 2 and the reason. */
export function refuse(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(2);
}
