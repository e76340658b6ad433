// Where a new account goes: of two shards drawn at random the one whose primary has less to do
// (paper §4.1). Old figures count as heavy; what was placed since the figures came counts too.

import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import { shardId } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import { decodeLoad } from "../node/load-figures.ts";
import type { LoadFigures } from "../node/load-figures.ts";
import type { Primaries } from "./calls.ts";

/** Load of a node as one number, 0 idle, 1 busy; undefined when it is unknown or old. */
export type LoadOf = (node: MemberId) => number | undefined;

export interface PlacementOptions {
  readonly shardCount: number;
  readonly primaries: Primaries;
  readonly loadOf: LoadOf;
  readonly random: Random;
}

/** What an account that is being placed weighs against a load figure. */
const weightOfOne = 0.02;
const unknownLoad = 1;
const triesMax = 8;

export class Placement {
  readonly #options: PlacementOptions;
  readonly #placing = new Map<MemberId, number>();

  constructor(options: PlacementOptions) {
    this.#options = options;
  }

  /** A shard for one account; `done` is to be called when it is made or has failed. Undefined: no shard is served. */
  choose(): { readonly shard: ShardId; readonly done: () => void } | undefined {
    const first = this.#draw(undefined);
    if (first === undefined) return undefined;
    const second = this.#draw(first.node) ?? first;
    const { shard, node } = this.#weight(second.node) < this.#weight(first.node) ? second : first;
    this.#placing.set(node, (this.#placing.get(node) ?? 0) + 1);
    let open = true;
    const done = (): void => {
      if (!open) return;
      open = false;
      const left = (this.#placing.get(node) ?? 1) - 1;
      if (left === 0) this.#placing.delete(node);
      else this.#placing.set(node, left);
    };
    return { shard, done };
  }

  /** A random shard that has a primary, on another node than `not` if a few draws find one. */
  #draw(
    not: MemberId | undefined,
  ): { readonly shard: ShardId; readonly node: MemberId } | undefined {
    const { shardCount, primaries, random } = this.#options;
    for (let tries = 0; tries < triesMax; tries++) {
      const shard = shardId(random.u32() % shardCount);
      const node = primaries.primary(shard);
      if (node !== undefined && node !== not) return { shard, node };
    }
    return undefined;
  }

  #weight(node: MemberId): number {
    const load = this.#options.loadOf(node) ?? unknownLoad;
    return load + weightOfOne * (this.#placing.get(node) ?? 0);
  }
}

/** Load by what came with replies; figures whose counter stood still for `staleMs` are old. */
export function freshLoads(
  loads: () => ReadonlyMap<MemberId, unknown>,
  clock: Clock,
  staleMs = 5000,
): LoadOf {
  const seen = new Map<MemberId, { readonly seq: number; readonly atMs: number }>();
  return (node) => {
    const value = loads().get(node);
    if (value === undefined) return undefined;
    const figures = decodeLoad(value);
    const nowMs = clock.monotonicMs();
    const last = seen.get(node);
    if (last?.seq !== figures.seq) seen.set(node, { seq: figures.seq, atMs: nowMs });
    else if (nowMs - last.atMs > staleMs) return undefined;
    return weightOf(figures);
  };
}

/** About 0 for an idle node, 1 for one that is busy in some respect; a full disk outweighs all. */
function weightOf(figures: LoadFigures): number {
  const disk = figures.diskFreePerMille < 100 ? 10 : 0;
  const queue = figures.queueBytes / (16 * 1024 * 1024);
  return figures.cpuPerMille / 1000 + queue + figures.fsyncP99Micros / 200_000 + disk;
}
