// The next configuration of a shard, for each thing that the manager does: pure values, each one
// compare-and-set away from the present one. cluster.md "What the manager does".

import { epoch as makeEpoch, lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn } from "../../mail/ids.ts";
import type { ChainHash } from "./hash-tail.ts";
import type { ShardPlan } from "./manager-types.ts";
import { formerMax, sameCopy } from "./shard-config.ts";
import type { Copy, SecondaryCopy, ShardConfig } from "./shard-config.ts";

/** Commit mark of a primary and the hash of that entry: behind it the tail of a new copy begins. */
export interface Anchor {
  readonly commitMark: Lsn;
  readonly markHash: ChainHash;
}

/**
 * A copy that has nothing yet but gets every entry behind the anchor from now on.
 *
 * @param still the primary commits nothing between telling its commit mark and the change, and nothing
 * above the mark was acknowledged that the copies lack which might be put together with this tail.
 */
export function tailFirst(
  config: ShardConfig,
  copy: Copy,
  { commitMark, markHash }: Anchor,
  still: boolean,
): SecondaryCopy {
  const { node, store } = copy;
  const fromLsn = makeLsn(commitMark + 1);
  const tail = { node, store, full: false, fromLsn, anchorHash: markHash };
  // A primary that was alone showed what it had not committed: whoever takes the place of a late copy
  // does not have that either.
  const { secondaries } = config;
  const late = !secondaries.some((one) => one.full) && secondaries.some((one) => one.late === true);
  return still && !late ? tail : { ...tail, late: true };
}

/**
 * `primary`, until now a secondary (or grafted former member), takes over; the old primary, when it
 * might return, stays known as former, or as a full secondary if it is there: what was committed it
 * holds. `next` gets the tail.
 */
export function promote(
  config: ShardConfig,
  primary: Copy,
  old: "secondary" | "former" | "gone",
  next: SecondaryCopy | undefined,
): ShardPlan {
  const stays = old === "secondary" ? [{ ...bare(config.primary), full: true }] : [];
  const rest = config.secondaries.filter((one) => !sameCopy(one, primary));
  const secondaries = next === undefined ? [...stays, ...rest] : [...stays, ...rest, next];
  const former = old === "former" ? [config.primary, ...formerOf(config)] : formerOf(config);
  return plan(config, bare(primary), secondaries, former);
}

/**
 * The configuration as it would be had the table heard that `copy` is full. Former members are none
 * any more: a tail may not hold what this copy and the primary have above what an older one has.
 */
export function withFull(config: ShardConfig, copy: Copy): ShardConfig {
  const { former: _older, ...rest } = config;
  if (config.secondaries.some((one) => one.full && sameCopy(one, copy))) return config;
  const secondaries = config.secondaries.map((one) =>
    sameCopy(one, copy) ? { ...bare(one), full: true } : one,
  );
  return { ...rest, secondaries };
}

/** The primary and `to`, a full secondary, change places; what `from` held, it held to the end. */
export function handedOver(config: ShardConfig, to: Copy): ShardPlan {
  const rest = config.secondaries.filter((one) => !sameCopy(one, to));
  const secondaries = [{ ...bare(config.primary), full: true }, ...rest];
  return { ...plan(config, bare(to), secondaries, formerOf(config)), endedEpoch: config.epoch };
}

/** The same members in a new epoch: what was sealed or handed over begins again. */
export function sameAgain(config: ShardConfig): ShardPlan {
  return plan(config, config.primary, config.secondaries, formerOf(config));
}

/** A secondary leaves; a full one stays known as former. `next` gets the tail. */
export function removeSecondary(
  config: ShardConfig,
  gone: Copy,
  next: SecondaryCopy | undefined,
): ShardPlan {
  const removed = config.secondaries.find((one) => sameCopy(one, gone));
  const rest = config.secondaries.filter((one) => one !== removed);
  const secondaries = next === undefined ? rest : [...rest, next];
  // A copy that only has a tail is worth nothing by itself, but its own log may go far back.
  const former = removed?.full === true ? [bare(removed), ...formerOf(config)] : formerOf(config);
  return plan(config, config.primary, secondaries, former);
}

/** Another secondary, tail first. A former member that returns keeps its log and is fed from it. */
export function addSecondary(config: ShardConfig, next: SecondaryCopy): ShardPlan {
  return plan(config, config.primary, [...config.secondaries, next], formerOf(config));
}

/** `copy` is complete: a copy that was put in only until then leaves. */
export function markFull(config: ShardConfig, copy: Copy, wanted: number): ShardPlan {
  const marked = config.secondaries.map((one) =>
    sameCopy(one, copy) ? { ...bare(one), full: true } : one,
  );
  const full = marked.filter((one) => one.full).length;
  const secondaries = full >= wanted ? marked.filter((one) => one.full) : marked;
  return plan(config, config.primary, secondaries, formerOf(config));
}

/** An operator takes the copy at `to` as it is; everything else of the shard is void. */
export function forcePromote(config: ShardConfig, to: Copy): ShardPlan {
  return { ...plan(config, bare(to), [], []), forced: true };
}

/** The primary of a shard that was promoted by force has renewed its UIDVALIDITYs. */
export function renewed(config: ShardConfig): ShardPlan {
  const { forced: _done, ...next } = sameAgain(config);
  return next;
}

function plan(
  config: ShardConfig,
  primary: Copy,
  secondaries: readonly SecondaryCopy[],
  former: readonly Copy[],
): ShardPlan {
  const { shard, epoch, minCopies } = config;
  // Nobody needs former copies while there is a full secondary.
  const isFull = secondaries.some((one) => one.full);
  const kept = former.filter(
    (one, at) =>
      !isFull &&
      !sameCopy(one, primary) &&
      former.findIndex((other) => sameCopy(other, one)) === at,
  );
  return {
    shard,
    epoch: makeEpoch(epoch + 1),
    primary,
    secondaries,
    minCopies,
    ...(kept.length === 0 ? {} : { former: kept.slice(0, formerMax) }),
    ...(config.forced === true ? { forced: true } : {}),
  };
}

function formerOf(config: ShardConfig): readonly Copy[] {
  return config.former ?? [];
}

function bare({ node, store }: Copy): Copy {
  return { node, store };
}
