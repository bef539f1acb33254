import type { ClusterState } from "../state/cluster.ts";
import type { NodeId } from "../state/ids.ts";
import type { ServiceSpec } from "../state/spec.ts";
import type { Task, TaskPort } from "../state/task.ts";
import { isTerminal } from "../state/task.ts";
import { explain, fits } from "./filter.ts";
import { Heap } from "./heap.ts";
import { NodeDraft } from "./node-draft.ts";
import { spreadScore } from "./score.ts";

export interface Place {
  readonly node: NodeId;
  readonly nodeName: string;
  readonly ports: readonly TaskPort[];
}

/** The nodes as one pass fills them. Made when a pass first has something to place. */
export class Board {
  readonly #drafts: readonly NodeDraft[];
  /** Why services of this ask fit nowhere: room only shrinks during a pass, so none fits later in it. */
  readonly #failures = new Map<string, string>();

  constructor(state: ClusterState) {
    this.#drafts = [...state.nodes.values()].map(
      (node) => new NodeDraft(node, state.allocated(node.id)),
    );
  }

  /** `slots`: the service's tasks, to see where it runs already. */
  for(service: ServiceSpec, slots: Iterable<readonly Task[]>): ServicePlacer {
    return new ServicePlacer(this.#drafts, this.#failures, service, slots);
  }
}

interface Candidate {
  readonly draft: NodeDraft;
  /** Tasks of this service on it. */
  siblings: number;
  score: number;
}

/** Places the tasks of one service one after the other, nothing else in between. */
export class ServicePlacer {
  readonly #drafts: readonly NodeDraft[];
  readonly #failures: Map<string, string>;
  readonly #service: ServiceSpec;
  readonly #class: string;
  readonly #slots: Iterable<readonly Task[]>;
  #heap: Heap<Candidate> | null = null;

  constructor(
    drafts: readonly NodeDraft[],
    failures: Map<string, string>,
    service: ServiceSpec,
    slots: Iterable<readonly Task[]>,
  ) {
    this.#drafts = drafts;
    this.#failures = failures;
    this.#service = service;
    this.#slots = slots;
    const { image, driver, constraints, reservations, ports } = service;
    this.#class = JSON.stringify([image === null, driver, constraints, reservations, ports]);
  }

  /**
   * The best place for the next task, taken at once; or the sentence why there is none. Nodes to `avoid` are
   * used only when no other fits.
   */
  next(avoid: ReadonlySet<NodeId>): Place | string {
    const known = this.#failures.get(this.#class);
    if (known !== undefined) return known;
    this.#heap ??= this.#rank();
    const candidate = pick(this.#heap, avoid);
    if (candidate === undefined) {
      const sentence = explain(this.#drafts, this.#service);
      this.#failures.set(this.#class, sentence);
      return sentence;
    }
    const { draft } = candidate;
    const ports = draft.choosePorts(this.#service) ?? [];
    draft.take(this.#service, ports);
    if (fits(draft, this.#service)) {
      this.#heap.push({ draft, siblings: candidate.siblings + 1, score: this.#score(draft) });
    }
    return { node: draft.record.id, nodeName: draft.record.name, ports };
  }

  #rank(): Heap<Candidate> {
    const siblings = new Map<NodeId, number>();
    for (const tasks of this.#slots) {
      for (const { node, state } of tasks) {
        if (node !== null && !isTerminal(state)) siblings.set(node, (siblings.get(node) ?? 0) + 1);
      }
    }
    const candidates: Candidate[] = [];
    for (const draft of this.#drafts) {
      if (!fits(draft, this.#service)) continue;
      candidates.push({
        draft,
        siblings: siblings.get(draft.record.id) ?? 0,
        score: this.#score(draft),
      });
    }
    return new Heap(candidates, better);
  }

  #score(draft: NodeDraft): number {
    return spreadScore(draft.record.resources, draft.weight, this.#service.reservations);
  }
}

/** Fewest tasks of the service, then the score, then fewest tasks; the id decides what is left, alike everywhere. */
function better(a: Candidate, b: Candidate): number {
  return (
    a.siblings - b.siblings ||
    b.score - a.score ||
    a.draft.tasks - b.draft.tasks ||
    (a.draft.record.id < b.draft.record.id ? -1 : 1)
  );
}

function pick(heap: Heap<Candidate>, avoid: ReadonlySet<NodeId>): Candidate | undefined {
  const passed: Candidate[] = [];
  let found = heap.pop();
  while (found !== undefined && avoid.has(found.draft.record.id)) {
    passed.push(found);
    found = heap.pop();
  }
  found ??= passed.shift();
  for (const candidate of passed) heap.push(candidate);
  return found;
}
