import { randomBytes } from "node:crypto";
import { afterEach, describe, expect, test, vi } from "vitest";
import { OrchError, fault } from "../../lib/errors.ts";
import type { Network, NetworkEvents } from "../../node/network.ts";
import type { NodeId } from "../../state/ids.ts";

/** What any implementation of the Network port must be able to do for these tests. */
export interface NetworkMaker {
  /** A started network with an identity of its own that knows nobody yet. */
  readonly create: (events: NetworkEvents) => Promise<Network>;
}

export interface Recorder extends NetworkEvents {
  readonly frames: { readonly from: NodeId; readonly text: string }[];
  readonly up: NodeId[];
  readonly lost: NodeId[];
  readonly dialable: { readonly peer: NodeId; readonly dialable: boolean }[];
  readonly gossip: { readonly from: NodeId; readonly text: string }[];
  /** What strangers said in proof of the join secret. */
  readonly vouched: { readonly by: NodeId; readonly list: string }[];
}

const secret = { clusterId: "abcdefgh01234567", secret: randomBytes(32) };
const patient = { timeout: 20_000, interval: 10 };

/** Events that remember what happened; `bulk` answers what `onBulk` is asked. */
export function recorder(
  onBulk?: NetworkEvents["onBulk"],
  onJoin?: NetworkEvents["onJoin"],
): Recorder {
  const frames: { from: NodeId; text: string }[] = [];
  const up: NodeId[] = [];
  const lost: NodeId[] = [];
  const dialable: { peer: NodeId; dialable: boolean }[] = [];
  const gossip: { from: NodeId; text: string }[] = [];
  const vouched: { by: NodeId; list: string }[] = [];
  return {
    frames,
    up,
    lost,
    dialable,
    gossip,
    vouched,
    onFrame: (from, frame) => void frames.push({ from, text: Buffer.from(frame).toString() }),
    onPeerUp: (peer) => void up.push(peer),
    onPeerLost: (peer) => void lost.push(peer),
    onDialable: (peer, is) => void dialable.push({ peer, dialable: is }),
    onGossip: (from, payload) => void gossip.push({ from, text: Buffer.from(payload).toString() }),
    onBulk:
      onBulk ??
      (() => {
        throw new OrchError(
          fault("not-found", "there is nothing to send", "Ask for something else."),
        );
      }),
    onJoin:
      onJoin ??
      ((joiner, hello) =>
        Promise.resolve(Buffer.from(`${joiner} ${Buffer.from(hello).toString()}`))),
    onVouch: (asker) => Buffer.from(`the members, for ${asker}`),
    onVouched: (by, list) => void vouched.push({ by, list: Buffer.from(list).toString() }),
  };
}

/** Makes the networks members of one cluster that are to stay connected with each other. */
export function introduce(networks: readonly Network[]): void {
  const members = new Set(networks.map((network) => network.self));
  for (const network of networks) {
    network.admit(members, secret);
    network.connect(
      networks
        .filter((other) => other !== network)
        .map((other) => ({ id: other.self, addresses: other.addresses() })),
    );
  }
}

/** Every chunk of a bulk answer, as text. */
export async function collect(
  chunks: AsyncIterable<Uint8Array>,
  onChunk?: (text: string) => void,
): Promise<string[]> {
  const all: string[] = [];
  for await (const chunk of chunks) {
    const text = Buffer.from(chunk).toString();
    all.push(text);
    onChunk?.(text);
  }
  return all;
}

function never(): AbortSignal {
  return new AbortController().signal;
}

function oneThenWait(onEnd: (why: string) => void): NetworkEvents["onBulk"] {
  return async function* (_from, _request, signal) {
    yield Buffer.from("one");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    onEnd("aborted");
  };
}

interface Member {
  readonly network: Network;
  readonly log: Recorder;
}

/** The tests that hold for every implementation of the Network port. */
export function networkCompliance(name: string, maker: NetworkMaker): void {
  describe(`network: ${name}`, () => {
    const open: Network[] = [];
    afterEach(async () => {
      await Promise.all(open.splice(0).map((network) => network.close()));
    });

    const member = async (log: Recorder = recorder()): Promise<Member> => {
      const network = await maker.create(log);
      open.push(network);
      return { network, log };
    };

    const mesh = async (count: number, log?: () => Recorder): Promise<Member[]> => {
      const members = await Promise.all(Array.from({ length: count }, () => member(log?.())));
      introduce(members.map(({ network }) => network));
      await vi.waitFor(() => {
        for (const one of members) expect(new Set(one.log.up).size).toBe(count - 1);
      }, patient);
      return members;
    };

    const pair = async (log?: () => Recorder): Promise<[Member, Member]> => {
      const [a, b] = await mesh(2, log);
      if (a === undefined || b === undefined) throw new Error("two members");
      return [a, b];
    };

    test("members exchange frames, whole and in the order of each peer", async () => {
      const members = await mesh(3);
      for (const { network } of members) {
        for (let i = 0; i < 200; i++) {
          for (const other of members) {
            if (other.network !== network)
              network.send(other.network.self, Buffer.from(`${i}`.repeat(1 + (i % 50))));
          }
        }
      }
      const expected = Array.from({ length: 200 }, (_, i) => `${i}`.repeat(1 + (i % 50)));
      await vi.waitFor(() => {
        for (const { log } of members) expect(log.frames.length).toBe(400);
      }, patient);
      for (const { network, log } of members) {
        for (const other of members) {
          if (other.network === network) continue;
          expect(
            log.frames.filter(({ from }) => from === other.network.self).map(({ text }) => text),
          ).toEqual(expected);
        }
      }
    });

    test("a frame may be empty, or some megabytes long", async () => {
      const [a, b] = await pair();
      a.network.send(b.network.self, new Uint8Array());
      a.network.send(b.network.self, Buffer.alloc(3 << 20, "x"));
      await vi.waitFor(
        () => expect(b.log.frames.map(({ text }) => text.length)).toEqual([0, 3 << 20]),
        patient,
      );
    });

    test("a frame to a peer that is not connected is dropped, and counted", async () => {
      const [a] = await pair();
      const stranger = await member();
      const before = a.network.counters().framesDropped;
      a.network.send(stranger.network.self, Buffer.from("x"));
      expect(a.network.counters().framesDropped).toBe(before + 1);
    });

    test("the end of a peer is told once, and its frames end", async () => {
      const [a, b] = await pair();
      expect(a.network.isConnected(b.network.self)).toBe(true);
      await b.network.close();
      await vi.waitFor(() => expect(a.log.lost).toEqual([b.network.self]), patient);
      expect(a.network.isConnected(b.network.self)).toBe(false);
      expect(a.log.up).toEqual([b.network.self]);
    });

    test("who is not admitted gets and gives nothing", async () => {
      const [a, b] = await pair();
      const stranger = await member();
      const all = new Set([a, b, stranger].map(({ network }) => network.self));
      stranger.network.admit(all, null);
      stranger.network.connect([{ id: a.network.self, addresses: a.network.addresses() }]);
      await vi.waitFor(
        () => expect(a.network.counters().strangersRefused).toBeGreaterThan(0),
        patient,
      );
      stranger.network.send(a.network.self, Buffer.from("let me in"));
      stranger.network.gossip(Buffer.from("let me in"));
      // The member's word after the stranger's attempt proves that the stranger's would have come.
      await vi.waitFor(() => {
        b.network.gossip(Buffer.from("member"));
        expect(a.log.gossip.length).toBeGreaterThan(0);
      }, patient);
      expect(a.log.up).toEqual([b.network.self]);
      expect(a.log.frames).toEqual([]);
      expect(a.log.gossip.filter(({ from }) => from === stranger.network.self)).toEqual([]);
      expect(stranger.log.up).toEqual([]);
      expect(stranger.log.gossip).toEqual([]);
    });

    test("a member that is removed is cut off", async () => {
      const [a, b] = await pair();
      a.network.admit(new Set([a.network.self]), secret);
      await vi.waitFor(() => expect(a.log.lost).toEqual([b.network.self]), patient);
      await vi.waitFor(() => expect(b.log.lost[0]).toBe(a.network.self), patient);
      b.network.send(a.network.self, Buffer.from("still here?"));
      expect(a.log.frames).toEqual([]);
    });

    test("gossip reaches every member, with its author", async () => {
      const members = await mesh(3);
      const missing = (): string[] =>
        members.flatMap(({ network, log }) =>
          members
            .filter((other) => other.network !== network)
            .filter(
              (other) =>
                !log.gossip.some(
                  ({ from, text }) => from === other.network.self && text === `from ${from}`,
                ),
            )
            .map((other) => `${network.self} has nothing from ${other.network.self}`),
        );
      await vi.waitFor(
        () => {
          for (const { network } of members) network.gossip(Buffer.from(`from ${network.self}`));
          expect(missing()).toEqual([]);
        },
        { timeout: 30_000, interval: 500 },
      );
      expect(
        members.flatMap(({ log }) =>
          log.gossip.filter(({ from, text }) => text !== `from ${from}`),
        ),
      ).toEqual([]);
    });

    test("bulk: what the handler yields arrives in order, then ends", async () => {
      const [a, b] = await pair(() =>
        recorder(async function* (from, request) {
          yield Buffer.from(`for ${from}: `);
          for (let i = 0; i < 3; i++) yield Buffer.from(`${Buffer.from(request).toString()}${i} `);
        }),
      );
      const got = await collect(a.network.bulk(b.network.self, Buffer.from("x"), never()));
      expect(got.join("")).toBe(`for ${a.network.self}: x0 x1 x2 `);
    });

    test("bulk: the handler's fault arrives as it is, after what came before it", async () => {
      const [a, b] = await pair(() =>
        recorder(async function* () {
          yield Buffer.from("first");
          await Promise.resolve();
          throw new OrchError(fault("not-found", "no such log", "Look elsewhere.", { path: "x" }));
        }),
      );
      const got: string[] = [];
      const reading = collect(a.network.bulk(b.network.self, Buffer.from("x"), never()), (text) =>
        got.push(text),
      );
      await expect(reading).rejects.toMatchObject({
        fault: {
          code: "not-found",
          message: "no such log",
          hint: "Look elsewhere.",
          details: { path: "x" },
        },
      });
      expect(got).toEqual(["first"]);
    });

    test("bulk: a reader that leaves aborts the handler's signal", async () => {
      const aborted = Promise.withResolvers<string>();
      const [a, b] = await pair(() => recorder(oneThenWait((why) => aborted.resolve(why))));
      for await (const chunk of a.network.bulk(b.network.self, Buffer.from("x"), never())) {
        expect(Buffer.from(chunk).toString()).toBe("one");
        break;
      }
      expect(await aborted.promise).toBe("aborted");
    });

    test("bulk: the caller's signal ends a wait, and the end of the peer does", async () => {
      const [a, b] = await pair(() => recorder(oneThenWait(() => {})));
      const control = new AbortController();
      const reading = collect(
        a.network.bulk(b.network.self, Buffer.from("x"), control.signal),
        () => control.abort(new Error("enough")),
      );
      await expect(reading).rejects.toThrow("enough");
      const cut = collect(
        a.network.bulk(b.network.self, Buffer.from("x"), never()),
        () => void b.network.close(),
      );
      await expect(cut).rejects.toMatchObject({ fault: { code: "unreachable" } });
    });

    test("bulk from a node that nobody can name is unreachable", async () => {
      const [a] = await pair();
      const other = await member();
      const reading = collect(a.network.bulk(other.network.self, Buffer.from("x"), never()));
      await expect(reading).rejects.toMatchObject({ fault: { code: "unreachable" } });
    });

    test("close is quick, may be called twice, and silences everything", async () => {
      const [a, b] = await pair();
      const startMs = performance.now();
      await Promise.all([a.network.close(), a.network.close()]);
      expect(performance.now() - startMs).toBeLessThan(2_000);
      const before = { frames: a.log.frames.length, lost: a.log.lost.length };
      b.network.send(a.network.self, Buffer.from("x"));
      a.network.send(b.network.self, Buffer.from("x"));
      a.network.gossip(Buffer.from("x"));
      a.network.connect([]);
      await vi.waitFor(() => expect(b.log.lost).toEqual([a.network.self]), patient);
      expect({ frames: a.log.frames.length, lost: a.log.lost.length }).toEqual(before);
    });
  });
}
