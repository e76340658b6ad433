// Watching an account over links that may break: after each break, and when the shard table names
// other members, the watch is made anew at the primary. Thousands of idle sessions come back a few at a
// time, so that a new primary is not busy with them alone. Used by routed-mail-store.ts.

import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import type { Epoch, MailboxId, ShardId } from "../../mail/ids.ts";
import type { MailboxEvent, MailboxListing, MailStore, Principal } from "../../mail/mail-store.ts";
import type { Links, RpcReply } from "../link/rpc.ts";
import { decodeEvent } from "./codec-events.ts";
import { headOf, streamNames } from "./mail-service.ts";
import type { Budget, ShardCaller } from "./shard-caller.ts";
import type { KnownShards } from "./shard-table.ts";

/** Watches of one shard that are being made again at the same time. */
const returningMax = 16;

interface Waiting {
  readonly enter: () => void;
}

/** Lets broken watches of a shard come back a few at a time. */
export class WatchGate {
  readonly #clock: Clock;
  readonly #shards = new Map<ShardId, { inside: number; readonly waiting: Set<Waiting> }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves inside, with what lets the next one in. @throws {MailError} UNAVAILABLE after `mostMs` */
  async enter(shard: ShardId, mostMs: number, signal: AbortSignal): Promise<() => void> {
    let gate = this.#shards.get(shard);
    if (gate === undefined) this.#shards.set(shard, (gate = { inside: 0, waiting: new Set() }));
    if (gate.inside < returningMax) gate.inside++;
    else await this.#wait(gate.waiting, mostMs, signal);
    const { waiting } = gate;
    const held = gate;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      const [next] = waiting;
      if (next !== undefined) next.enter();
      else if (--held.inside === 0) this.#shards.delete(shard);
    };
  }

  /** The place of one who leaves is handed on. */
  #wait(waiting: Set<Waiting>, mostMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        timer.cancel();
        waiting.delete(self);
        signal.removeEventListener("abort", giveUp);
      };
      const giveUp = (): void => {
        done();
        reject(new MailError({ code: "UNAVAILABLE", why: "the primary did not come back" }));
      };
      const self: Waiting = {
        enter: () => {
          done();
          resolve();
        },
      };
      const timer = this.#clock.after(Math.max(1, mostMs), giveUp);
      signal.addEventListener("abort", giveUp, { once: true });
      waiting.add(self);
    });
  }
}

export interface WatchOptions {
  readonly caller: ShardCaller;
  readonly table: KnownShards;
  readonly links: Links;
  readonly gate: WatchGate;
  readonly ends: StreamEnds;
  /** For callers that have no `listening`: what everything is like after a break. */
  readonly list: (who: Principal, signal: AbortSignal) => Promise<MailboxListing>;
}

/** Events until `signal` aborts. @throws {MailError} UNAVAILABLE when no primary is found in time */
export async function* routedWatch(
  options: WatchOptions,
  who: Principal,
  { mailboxes, listening, interrupted }: Parameters<MailStore["watch"]>[1],
  signal: AbortSignal,
): AsyncGenerator<MailboxEvent, void, undefined> {
  const { caller, gate } = options;
  const budget = caller.budget(who.shard);
  const args = [mailboxes === "all" ? null : mailboxes];
  for (let broken = false; !signal.aborted; broken = true) {
    let begun = false;
    let leave: (() => void) | undefined;
    let items: AsyncIterator<RpcReply> | undefined;
    try {
      if (broken) leave = await gate.enter(who.shard, budget.leftMs, signal);
      else if (!isLinked(options, who.shard)) interrupted?.();
      items = await begin(options, budget, who, args, signal);
      for (let item = await items.next(); item.done !== true; item = await items.next()) {
        if (begun) {
          yield decodeEvent(item.value.head);
          continue;
        }
        begun = true;
        leave?.();
        listening?.();
        if (broken && listening === undefined)
          yield* missed(mailboxes, await options.list(who, signal));
      }
      throw new MailError({ code: "UNAVAILABLE", why: "the watch ended" });
    } catch (error) {
      if (signal.aborted) return;
      // The time to find the next primary begins when this one is lost.
      if (begun) budget.refill();
      if (begun || !broken) interrupted?.();
      await budget.again(error, signal);
    } finally {
      if (items !== undefined) options.ends.end(who.shard, items);
      leave?.();
    }
  }
}

/** The stream of one try; `ends` has what ends it when the shard's members change. */
async function begin(
  { ends }: WatchOptions,
  budget: Budget,
  who: Principal,
  args: readonly unknown[],
  signal: AbortSignal,
): Promise<AsyncIterator<RpcReply>> {
  const { peer, epoch } = await budget.primary(signal);
  const head = headOf(epoch, who, args);
  const items = peer.stream(streamNames.watch, head, { signal })[Symbol.asyncIterator]();
  ends.add(who.shard, epoch, items);
  return items;
}

/** Streams by shard, ended when a later epoch of their shard comes: idle sessions cost one entry. */
export class StreamEnds {
  readonly #shards = new Map<ShardId, Map<AsyncIterator<RpcReply>, Epoch>>();

  constructor(table: KnownShards) {
    table.onChange(({ shard, epoch }) => {
      for (const [items, began] of this.#shards.get(shard) ?? []) {
        if (began < epoch) this.end(shard, items);
      }
    });
  }

  add(shard: ShardId, epoch: Epoch, items: AsyncIterator<RpcReply>): void {
    const known = this.#shards.get(shard);
    if (known === undefined) this.#shards.set(shard, new Map([[items, epoch]]));
    else known.set(items, epoch);
  }

  /** Cancels, if it still runs. */
  end(shard: ShardId, items: AsyncIterator<RpcReply>): void {
    const known = this.#shards.get(shard);
    if (known?.delete(items) !== true) return;
    if (known.size === 0) this.#shards.delete(shard);
    items.return?.().then(ignore, ignore);
  }
}

function isLinked({ table, links }: WatchOptions, shard: ShardId): boolean {
  const config = table.get(shard);
  return config !== undefined && links.peer(config.primary.node).up;
}

function* missed(
  mailboxes: readonly MailboxId[] | "all",
  listing: MailboxListing,
): Generator<MailboxEvent, void, undefined> {
  const modSeqs = new Map(listing.mailboxes.map((info) => [info.id, info.highestModSeq]));
  const watched = mailboxes === "all" ? [...modSeqs.keys()].filter((id) => id > 0) : mailboxes;
  for (const mailbox of watched) {
    const highestModSeq = modSeqs.get(mailbox);
    if (highestModSeq === undefined) yield { kind: "deleted", mailbox };
    else yield { kind: "mailbox", mailbox, highestModSeq };
  }
  yield { kind: "list" };
}

function ignore(): void {
  // A stream that was given up: how it ends is nobody's business.
}
