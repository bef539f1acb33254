import type { Answer, FrozenState, Job } from "./cluster.ts";
import type { NodeId } from "./ids.ts";
import { nodeId, taskId } from "./ids.ts";
import {
  check,
  checkAnswer,
  checkConfigRow,
  checkJob,
  checkNode,
  checkSpec,
  isInteger,
  Row,
} from "./snapshot-shape.ts";
import type { ServiceSpec } from "./spec.ts";
import { Tables } from "./tables.ts";
import type { Task } from "./task.ts";

/** A state that a snapshot's sections are read into. */
export class Restoring {
  readonly tables: Tables = new Tables();
  readonly answers: Map<string, Answer> = new Map();
  readonly specs: ServiceSpec[] = [];
  /** Slots that were named and have got no task yet. */
  emptySlots = 0;
  readonly #texts = new Map<string, string>();

  /** The one copy of a text that thousands of tasks may have, such as their node's id. */
  shared(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    this.#texts.set(text, text);
    return text;
  }

  spec(number: unknown): ServiceSpec {
    const spec = isInteger(number) ? this.specs[number] : undefined;
    check(spec !== undefined, `there is no spec ${String(number)} before it`);
    return spec;
  }
}

/**
 * Numbers each spec when a row first refers to it; specs that say the same have one number. Old tasks may have
 * one that their job has no more.
 */
export class SpecNumbers {
  readonly #bySpec = new Map<ServiceSpec, number>();
  readonly #byText = new Map<string, number>();
  #waiting: string[] = [];
  #characters = 0;

  /** How much of specs must be written before the rows that were made so far. */
  get waitingCharacters(): number {
    return this.#characters;
  }

  of(spec: ServiceSpec): number {
    const known = this.#bySpec.get(spec);
    if (known !== undefined) return known;
    const text = JSON.stringify(spec);
    const number = this.#byText.get(text) ?? this.#byText.size;
    this.#bySpec.set(spec, number);
    if (number === this.#byText.size) {
      this.#byText.set(text, number);
      this.#waiting.push(text);
      this.#characters += text.length;
    }
    return number;
  }

  /** The JSON of the specs that are still to be written, by number. */
  takeWaiting(): readonly string[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#characters = 0;
    return taken;
  }
}

/** How one table is written and read. */
export interface Section {
  /** The table's rows, each as JSON. */
  readonly rows: (frozen: FrozenState, specs: SpecNumbers) => Iterable<string>;
  /** Takes one row back; throws SnapshotError when it is none. Rows come in the order in which they were written. */
  readonly load: (row: unknown, into: Restoring) => void;
}

/** Every list of a frozen state has a section; those of shared parts come on top. */
type SectionName = "specs" | Exclude<keyof FrozenState, "scalars" | "lastIndex">;

const SLOTS_A_ROW = 1000;

/** In the order in which they are written: what a row refers to comes before it. An empty one leaves no trace. */
export const SECTIONS: Readonly<Record<SectionName, Section>> = {
  specs: {
    // Each is written when a row of another table first refers to it.
    rows: () => [],
    load(row, into) {
      checkSpec(row);
      into.specs.push(row);
    },
  },
  nodes: {
    rows: ({ nodes }) => each(nodes, (node) => node),
    load(row, into) {
      checkNode(row);
      const { nodes, nodesByName } = into.tables;
      check(
        !nodes.has(row.id) && !nodesByName.has(row.name),
        `node ${row.id} or its name comes twice`,
      );
      into.shared(row.id);
      into.tables.restoreNode(row);
    },
  },
  retiredRaftIds: {
    rows: ({ retiredRaftIds }) => each(retiredRaftIds, (id) => id),
    load(row, { tables }) {
      check(isInteger(row), "a retired raft id is no integer");
      check(!tables.retiredRaftIds.has(row), `the retired raft id ${row} comes twice`);
      tables.retiredRaftIds.add(row);
    },
  },
  jobs: {
    rows: ({ jobs }, specs) => each(jobs, (job) => jobRow(job, specs)),
    load(row, into) {
      checkJob(row);
      check(!into.tables.jobs.has(row.name), `job "${row.name}" comes twice`);
      into.shared(row.name);
      const services = row.spec.services.map((number) => into.spec(number));
      into.tables.jobs.set(row.name, { ...row, spec: { ...row.spec, services } });
    },
  },
  slots: {
    rows: ({ slots }) => slotRows(slots),
    load: loadSlots,
  },
  portCursors: {
    rows: ({ portCursors }) => each(portCursors, ({ node, port }) => [node, port]),
    load(row, into) {
      const cells = new Row(row, "a port cursor");
      const node = nodeId(into.shared(cells.text()));
      check(
        into.tables.tasks.allocated(node).portCursor === 0,
        `${node}'s port cursor comes twice`,
      );
      into.tables.tasks.movePortCursor(node, cells.integer());
      cells.end();
    },
  },
  tasks: {
    rows: ({ tasks }, specs) => each(tasks, (task) => taskRow(task, specs)),
    load(row, into) {
      const task = taskOf(row, into);
      const { tasks } = into.tables;
      check(!tasks.all.has(task.id), `task ${task.id} comes twice`);
      const slot = tasks.services(task.job).get(task.service)?.get(task.slot);
      check(slot !== undefined, `task ${task.id}'s slot was not named before it`);
      if (slot.length === 0) into.emptySlots -= 1;
      tasks.put(task);
    },
  },
  configs: {
    rows: ({ configs }) => each(configs, (config) => config),
    load(row, { tables }) {
      checkConfigRow(row);
      check(!tables.configs.has(row.name), `config "${row.name}" comes twice`);
      tables.configs.set(row.name, row);
    },
  },
  answers: {
    rows: ({ answers }) => each(answers, (answer) => answer),
    load(row, { answers }) {
      const cells = new Row(row, "an answer");
      const key = cells.text();
      const answer = cells.any();
      cells.end();
      checkAnswer(answer);
      check(!answers.has(key), `the answer to key "${key}" comes twice`);
      answers.set(key, answer);
    },
  },
};

function* each<T>(items: readonly T[], row: (item: T) => unknown): Iterable<string> {
  for (const item of items) yield JSON.stringify(row(item));
}

function jobRow(job: Job, specs: SpecNumbers): unknown {
  const services = job.spec.services.map((service) => specs.of(service));
  return { ...job, spec: { ...job.spec, services } };
}

/** Not as ranges: a short row that names 100,000 slots would take long to read. */
function* slotRows(slotOrder: FrozenState["slots"]): Iterable<string> {
  for (const { job, service, slots } of slotOrder) {
    for (let from = 0; from < slots.length; from += SLOTS_A_ROW) {
      yield JSON.stringify([job, service, slots.slice(from, from + SLOTS_A_ROW)]);
    }
  }
}

function loadSlots(row: unknown, into: Restoring): void {
  const cells = new Row(row, "a service's slots");
  const job = into.shared(cells.text());
  const service = into.shared(cells.text());
  const slots = cells.integers();
  cells.end();
  const { tasks } = into.tables;
  const known = tasks.services(job).get(service);
  const isNew = new Set(slots).size === slots.length && !slots.some((slot) => known?.has(slot));
  check(isNew, `a slot of ${job}.${service} comes twice`);
  tasks.restoreSlots(job, service, slots);
  into.emptySlots += slots.length;
}

/** A list, not an object: the fields' names would double the size of 100,000 tasks. */
function taskRow(task: Task, specs: SpecNumbers): unknown {
  return [
    task.id,
    task.job,
    task.service,
    task.slot,
    task.version,
    specs.of(task.spec),
    task.node,
    task.ports.flatMap((port) => [port.container, port.host, port.protocol]),
    task.state,
    task.desired,
    task.healthy,
    task.attempts,
    task.exitCode,
    task.message,
    task.previous,
    task.returnedIndex,
    task.rejections,
    task.createdAtMs,
    task.startedAtMs,
    task.finishedAtMs,
    task.modifiedIndex,
  ];
}

/** The cells in the order of `taskRow`. */
function taskOf(row: unknown, into: Restoring): Task {
  const cells = new Row(row, "a task");
  const task: Task = {
    id: taskId(cells.text()),
    job: into.shared(cells.text()),
    service: into.shared(cells.text()),
    slot: cells.integer(),
    version: cells.integer(),
    spec: into.spec(cells.any()),
    node: nodeOf(cells.textOrNull(), into),
    ports: cells.ports(),
    state: cells.state(),
    desired: cells.desired(),
    healthy: cells.flagOrNull(),
    attempts: cells.integer(),
    exitCode: cells.integerOrNull(),
    message: into.shared(cells.text()),
    previous: previousOf(cells.textOrNull()),
    returnedIndex: cells.integerOrNull(),
    rejections: cells.integer(),
    createdAtMs: cells.integer(),
    startedAtMs: cells.integerOrNull(),
    finishedAtMs: cells.integerOrNull(),
    modifiedIndex: cells.integer(),
  };
  cells.end();
  return task;
}

function nodeOf(text: string | null, into: Restoring): NodeId | null {
  return text === null ? null : nodeId(into.shared(text));
}

function previousOf(text: string | null): Task["previous"] {
  return text === null ? null : taskId(text);
}
