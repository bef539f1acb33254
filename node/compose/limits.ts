/** Every bound and default of the file format in one place; docs/compose.md shows them to users. */

/**
 * Bounds on the text, so that no file can hold up the node that parses it: parsing takes up to 3 ms a KiB,
 * and must stay well below an election timeout.
 */
export const MAX_FILE_BYTES: number = 256 * 1024;
/** Lexical pieces: about twice what a readable file of the largest size has. */
export const MAX_LEXEMES = 500_000;
export const MAX_SYNTAX_ERRORS = 1000;
export const MAX_DIRECTIVES = 100;
/** A Compose file nests about eight deep. */
export const MAX_DEPTH = 100;
/** Keys stand in the paths of problems; YAML bounds most of them alike. */
export const MAX_KEY_CHARACTERS = 1024;
/** Characters of the whole file after aliases, merges and variables are put in. */
export const MAX_EXPANDED_CHARACTERS: number = 4 * 1024 * 1024;

export const MAX_SERVICES = 1000;
export const MAX_PORTS = 100;
export const MAX_VOLUMES = 100;
export const MAX_CONSTRAINTS = 100;
export const MAX_CONSTRAINT_CHARACTERS = 512;
/** Of a command's words, and of variables given as a list. */
export const MAX_ITEMS = 10_000;
export const MAX_REPLICAS = 100_000;
export const MAX_CPU_MILLI = 10_000_000;
/** 1 PiB. */
export const MAX_SIZE_MIB: number = 1024 * 1024 * 1024;
/** Docker's own minimum for a container's memory. */
export const MIN_MEMORY_LIMIT_MIB = 6;
export const MAX_DURATION_MS = 86_400_000;
export const MAX_ATTEMPTS = 1_000_000;

export const DEFAULTS = {
  replicas: 1,
  /** What a service counts for when it says nothing; a limit without a reservation is the reservation. */
  reservedCpuMilli: 100,
  reservedMemoryMib: 64,
  reservedDiskMib: 0,
  /** Swarm's defaults, but for the window: 0 would make every attempt a success. */
  restartCondition: "any",
  restartDelayMs: 5000,
  restartWindowMs: 5000,
  stopGraceMs: 10_000,
  partition: "at-least-one",
} as const;
