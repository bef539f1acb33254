import { present } from "../../lib/assert.ts";
import type { Problem, Step } from "./register.ts";
import { ABSENT, ANY } from "./register.ts";

/**
 * The search for an order of one key's operations that explains their answers: Wing and Gong's, with
 * Lowe's memory of the configurations that led nowhere. Depth costs no stack. Beyond those two:
 *
 * - What never changes the register (a read, a refusal) is taken as soon as it is possible: nothing that
 *   comes later can need it to wait.
 * - Writes of unknown outcome that are alike (the same demand and effect) are taken in the order of their
 *   calls, and only where they change something. A configuration is also known to fail if one with the
 *   same rest of known operations and no fewer unknown ones left has failed.
 * - The register may not leave a value, or a version that never comes back, while an operation is left
 *   that must see it.
 */

export type Found =
  | { readonly kind: "order"; readonly steps: number }
  | { readonly kind: "none"; readonly steps: number; readonly farthest: Configuration }
  | { readonly kind: "undecided"; readonly steps: number };

/** How far the search got: what was ordered, what the register then was, and what could have been next. */
export interface Configuration {
  /** The end of it. */
  readonly order: readonly Step[];
  readonly value: number;
  readonly version: number;
  readonly open: readonly Step[];
}

interface Frame {
  /** The length of the order and the register before any of the choices. */
  readonly length: number;
  readonly value: number;
  readonly version: number;
  readonly highest: number;
  readonly choices: readonly Choice[];
  next: number;
}

/** A known operation and its number, or the next one of a class of unknown ones. */
type Choice =
  | { readonly step: Step; readonly known: number }
  | { readonly step: Step; readonly unknown: number };

/** How much of an order's end is kept for people: all of it would be copied at every step forward. */
const LAST_SHOWN = 12;

/** Looks at no more than `maxSteps` placements of an operation. */
export function search(problem: Problem, maxSteps: number): Found {
  return new Search(problem).run(maxSteps);
}

class Search {
  readonly #problem: Problem;
  /** The events of known operations not yet ordered, by time: 2i calls, 2i + 1 returns; the last is the head. */
  readonly #after: Int32Array;
  readonly #before: Int32Array;
  readonly #head: number;
  #left: number;
  #value = ABSENT;
  #version = 0;
  /** The highest number of an ordered known operation: all below are ordered too, but for the open ones. */
  #highest = -1;
  readonly #order: Choice[] = [];
  /** How many of each class of unknown operations are in the order. */
  readonly #used: Uint32Array;
  /** How many known operations not yet ordered must see a value, or be at a version; who can still write a value. */
  readonly #seekers: Uint32Array;
  readonly #writers: Uint32Array;
  readonly #awaited: Map<number, number> = new Map();
  /** The configurations that were tried: for each, the unknown operations used (none contains another). */
  readonly #tried: Map<string, Uint32Array[]> = new Map();
  #farthest: Configuration = { order: [], value: ABSENT, version: 0, open: [] };
  #farthestLeft = Infinity;

  constructor(problem: Problem) {
    const { known, unknown, values } = problem;
    this.#problem = problem;
    this.#left = known.length;
    this.#head = 2 * known.length;
    this.#after = new Int32Array(this.#head + 1);
    this.#before = new Int32Array(this.#head + 1);
    this.#used = new Uint32Array(unknown.length);
    this.#seekers = new Uint32Array(values.length);
    this.#writers = new Uint32Array(values.length);
    let last = this.#head;
    for (const event of eventsInOrder(known)) {
      this.#after[last] = event;
      this.#before[event] = last;
      last = event;
    }
    this.#after[last] = this.#head;
    this.#before[this.#head] = last;
    for (const step of known) this.#count(step, 1);
    for (const step of unknown.flat()) this.#countWriter(step, 1);
  }

  run(maxSteps: number): Found {
    let steps = 0;
    const frames: Frame[] = [];
    this.#takeReads();
    if (this.#left === 0) return { kind: "order", steps };
    frames.push(this.#frame());
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      this.#returnTo(frame);
      const choice = frame.choices[frame.next];
      if (choice === undefined) {
        frames.pop();
        continue;
      }
      frame.next += 1;
      if (steps === maxSteps) return { kind: "undecided", steps };
      steps += 1;
      if (!this.#take(choice)) continue;
      this.#takeReads();
      if (this.#left === 0) return { kind: "order", steps };
      if (this.#isNew()) frames.push(this.#frame());
    }
    return { kind: "none", steps, farthest: this.#farthest };
  }

  #frame(): Frame {
    if (this.#left < this.#farthestLeft) this.#noteFarthest();
    return {
      length: this.#order.length,
      value: this.#value,
      version: this.#version,
      highest: this.#highest,
      choices: this.#choices(),
      next: 0,
    };
  }

  /** What can be next: a known operation called before every return that is left, or an unknown one. */
  #choices(): Choice[] {
    const choices: Choice[] = [];
    let event = this.#eventAfter(this.#head);
    for (; event % 2 === 0 && event !== this.#head; event = this.#eventAfter(event)) {
      const step = this.#known(event / 2);
      if (this.#possible(step)) choices.push({ step, known: event / 2 });
    }
    const { returnedAt } = this.#known((event - 1) / 2);
    for (const [unknown, steps] of this.#problem.unknown.entries()) {
      const step = steps[this.#used[unknown] ?? 0];
      if (step === undefined || step.calledAt > returnedAt || !this.#possible(step)) continue;
      if (this.#problem.versioned || step.becomes !== this.#value) choices.push({ step, unknown });
    }
    return choices;
  }

  #possible({ holds, holdsNot, atVersion, notAtVersion }: Step): boolean {
    return (
      (holds === ANY || holds === this.#value) &&
      (holdsNot === ANY || holdsNot !== this.#value) &&
      (atVersion === ANY || atVersion === this.#version) &&
      (notAtVersion === ANY || notAtVersion !== this.#version)
    );
  }

  /** Puts a write next in the order. False if that leaves an operation which can then never be placed. */
  #take(choice: Choice): boolean {
    const value = this.#value;
    const version = this.#version;
    const { becomes } = choice.step;
    this.#add(choice);
    this.#value = becomes;
    if (this.#problem.versioned) this.#version = becomes === ABSENT ? 0 : version + 1;
    if (value !== becomes && this.#seekers[value] !== 0 && this.#writers[value] === 0) return false;
    return !this.#problem.grows || (this.#awaited.get(version) ?? 0) === 0;
  }

  /** Orders all that can be now and changes nothing. */
  #takeReads(): void {
    let last = this.#head;
    for (let event = this.#eventAfter(last); event % 2 === 0; event = this.#eventAfter(last)) {
      if (event === this.#head) return;
      const step = this.#known(event / 2);
      if (step.becomes === ANY && this.#possible(step)) this.#add({ step, known: event / 2 });
      else last = event;
    }
  }

  #add(choice: Choice): void {
    this.#order.push(choice);
    const { step } = choice;
    if ("unknown" in choice) {
      this.#used[choice.unknown] = (this.#used[choice.unknown] ?? 0) + 1;
      this.#countWriter(step, -1);
      return;
    }
    this.#left -= 1;
    this.#highest = Math.max(this.#highest, choice.known);
    this.#unlink(2 * choice.known);
    this.#unlink(2 * choice.known + 1);
    this.#count(step, -1);
  }

  /** Takes back everything since the frame was made. */
  #returnTo({ length, value, version, highest }: Frame): void {
    while (this.#order.length > length) {
      const choice = present(this.#order.pop(), "the order is longer than the frame's");
      if ("unknown" in choice) {
        this.#used[choice.unknown] = (this.#used[choice.unknown] ?? 0) - 1;
        this.#countWriter(choice.step, 1);
        continue;
      }
      this.#left += 1;
      this.#relink(2 * choice.known + 1);
      this.#relink(2 * choice.known);
      this.#count(choice.step, 1);
    }
    this.#value = value;
    this.#version = version;
    this.#highest = highest;
  }

  /**
   * Whether this configuration is worth a look; remembers it if so. The known operations in the order are
   * those up to the highest without the open ones before it, which are at the head of the list.
   */
  #isNew(): boolean {
    let name = `${this.#value} ${this.#version} ${this.#highest}`;
    let event = this.#eventAfter(this.#head);
    for (; event % 2 === 0 && event < 2 * this.#highest; event = this.#eventAfter(event))
      name += ` ${event}`;
    const tried = this.#tried.get(name);
    if (tried === undefined) {
      this.#tried.set(name, [this.#used.slice()]);
      return true;
    }
    if (tried.some((used) => used.every((count, i) => count <= (this.#used[i] ?? 0)))) return false;
    tried.push(this.#used.slice());
    return true;
  }

  #noteFarthest(): void {
    const open: Step[] = [];
    let event = this.#eventAfter(this.#head);
    for (; event % 2 === 0 && event !== this.#head; event = this.#eventAfter(event)) {
      open.push(this.#known(event / 2));
    }
    const order = this.#order.slice(-LAST_SHOWN).map(({ step }) => step);
    this.#farthestLeft = this.#left;
    this.#farthest = { order, value: this.#value, version: this.#version, open };
  }

  #known(number: number): Step {
    return present(this.#problem.known[number], "a known operation has its number");
  }

  #count(step: Step, by: 1 | -1): void {
    this.#countWriter(step, by);
    if (step.holds !== ANY) this.#seekers[step.holds] = (this.#seekers[step.holds] ?? 0) + by;
    if (step.atVersion === ANY) return;
    this.#awaited.set(step.atVersion, (this.#awaited.get(step.atVersion) ?? 0) + by);
  }

  #countWriter({ becomes }: Step, by: 1 | -1): void {
    if (becomes !== ANY) this.#writers[becomes] = (this.#writers[becomes] ?? 0) + by;
  }

  #eventAfter(event: number): number {
    return this.#after[event] ?? this.#head;
  }

  #unlink(event: number): void {
    const after = this.#eventAfter(event);
    const before = this.#before[event] ?? this.#head;
    this.#after[before] = after;
    this.#before[after] = before;
  }

  #relink(event: number): void {
    const after = this.#eventAfter(event);
    const before = this.#before[event] ?? this.#head;
    this.#after[before] = event;
    this.#before[after] = event;
  }
}

/** Calls before returns at the same instant, so that the two are concurrent. */
function eventsInOrder(known: readonly Step[]): number[] {
  const timeOf = (event: number): number => {
    const step = present(known[event >> 1], "an event has its operation");
    return event % 2 === 0 ? step.calledAt : step.returnedAt;
  };
  const events = Array.from({ length: 2 * known.length }, (_, event) => event);
  return events.toSorted((a, b) => timeOf(a) - timeOf(b) || (a % 2) - (b % 2) || a - b);
}
