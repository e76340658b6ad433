// How far the copies are that make shards safe again: while any shard is not whole, a gateway asks the
// mail nodes once a second what they copy, and reckons when it will be done. For status and metrics. At
// other times it asks now and then, as a node that nobody asks anything would not tell its load either.

import type { Clock, Timer } from "../../lib/clock.ts";
import { isMailError } from "../../mail/errors.ts";
import { shardId, shardMax } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import type { CopyFigures } from "./copy-service.ts";
import { asArray, asCount, asListOf } from "./decode.ts";

/** One copy that comes in. */
export interface CopyUnderWay {
  readonly shard: ShardId;
  readonly doneBytes: number;
  /** An estimate. */
  readonly ofBytes: number;
}

/** What one node says of the copies that come to it. */
export interface NodeCopies {
  readonly running: readonly CopyUnderWay[];
  /** Copies that wait for their turn. */
  readonly waiting: number;
  /** Bytes of copies that came in since the node's start. */
  readonly bytesIn: number;
}

export interface CopyWatchOptions {
  readonly links: Links;
  readonly clock: Clock;
  readonly nodes: () => readonly MemberId[];
  readonly table: () => readonly ShardConfig[];
}

interface Known extends NodeCopies {
  readonly atMs: number;
  /** Smoothed; 0 until it is known. */
  readonly bytesPerSecond: number;
}

const method = "copy.figures";
const everyMs = 1000;
/** While all is whole, every so many times. */
const idleTicks = 3;
const deadlineMs = 800;
/** Weight of the newest second in the rate. */
const newest = 0.3;

/** A node's side: answers what it copies. Call before links are accepted. */
export function answerCopyFigures(registry: RpcRegistry, figures: () => CopyFigures): void {
  registry.onCall(method, () => {
    const { running, waiting, bytesIn } = figures();
    const coming = running.filter(({ direction }) => direction === "in");
    const copies = coming.map(({ shard, doneBytes, ofBytes }) => [shard, doneBytes, ofBytes]);
    return { head: [copies, waiting, bytesIn] };
  });
}

export class CopyWatch {
  readonly #options: CopyWatchOptions;
  readonly #known = new Map<MemberId, Known>();
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #ticks = 0;

  constructor(options: CopyWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.after(everyMs, () => this.#again());
  }

  close(): void {
    this.#stop.abort();
    this.#timer?.cancel();
  }

  /** As of the last second; empty while all shards are whole. */
  get copies(): ReadonlyMap<MemberId, NodeCopies> {
    return this.#known;
  }

  /**
   * How long until every shard is whole, as the copies go now; 0 when all are, undefined when that
   * can't be said: nothing is copied, or a log is being caught up with.
   */
  get toSafeMs(): number | undefined {
    if (isWhole(this.#options.table())) return 0;
    return estimateMs([...this.#known.values()]);
  }

  #again(): void {
    this.#timer = this.#options.clock.after(everyMs, () => this.#again());
    const { links, nodes, table } = this.#options;
    if (isWhole(table())) {
      this.#known.clear();
      this.#ticks += 1;
      if (this.#ticks % idleTicks !== 0) return;
    }
    for (const node of nodes()) if (links.peer(node).up) this.#ask(node);
    for (const node of this.#known.keys()) if (!links.peer(node).up) this.#known.delete(node);
  }

  #ask(node: MemberId): void {
    const { links, clock } = this.#options;
    const { signal } = this.#stop;
    links
      .peer(node)
      .call(method, [], { signal, deadlineMs })
      .then(({ head }) => this.#learn(node, decode(head), clock.monotonicMs()))
      .catch((error: unknown) => {
        if (!isMailError(error)) throw error;
        this.#known.delete(node);
      });
  }

  #learn(node: MemberId, copies: NodeCopies, atMs: number): void {
    if (isWhole(this.#options.table())) return;
    const before = this.#known.get(node);
    this.#known.set(node, { ...copies, atMs, bytesPerSecond: rateOf(before, copies, atMs) });
  }
}

/** Bytes per second, smoothed over some answers. */
function rateOf(before: Known | undefined, { bytesIn }: NodeCopies, atMs: number): number {
  if (before === undefined || atMs <= before.atMs || bytesIn < before.bytesIn) return 0;
  const rate = ((bytesIn - before.bytesIn) * 1000) / (atMs - before.atMs);
  if (before.bytesPerSecond === 0) return rate;
  return before.bytesPerSecond * (1 - newest) + rate * newest;
}

/** The slowest node decides; copies that wait are taken to be as large as those that run. */
export function estimateMs(
  nodes: readonly (NodeCopies & { readonly bytesPerSecond: number })[],
): number | undefined {
  let longest: number | undefined;
  for (const { running, waiting, bytesPerSecond } of nodes) {
    if (running.length === 0 && waiting === 0) continue;
    if (bytesPerSecond === 0) return undefined;
    let bytes = 0;
    let left = 0;
    for (const { doneBytes, ofBytes } of running) {
      bytes += ofBytes;
      left += Math.max(0, ofBytes - doneBytes);
    }
    if (running.length > 0) left += (waiting * bytes) / running.length;
    longest = Math.max(longest ?? 0, (left * 1000) / bytesPerSecond);
  }
  return longest;
}

function isWhole(table: readonly ShardConfig[]): boolean {
  return table.every(({ secondaries }) => secondaries.some(({ full }) => full));
}

function decode(head: unknown): NodeCopies {
  const fields = asArray(head, "copies");
  return {
    running: asListOf(fields[0], "copies", (value) => {
      const copy = asArray(value, "copy");
      return {
        shard: shardId(asCount(copy[0], "shard", shardMax)),
        doneBytes: asCount(copy[1], "bytes"),
        ofBytes: asCount(copy[2], "bytes"),
      };
    }),
    waiting: asCount(fields[1], "waiting"),
    bytesIn: asCount(fields[2], "bytes"),
  };
}
