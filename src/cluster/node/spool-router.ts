// A gateway's way to the spool and back: picks a shard that can take mail over now, and gathers
// confirmations into one frame per shard and moment. Deliveries themselves are routed-mail-store.ts.

import type { Clock, Timer } from "../../lib/clock.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { Epoch, MemberId, OpId, ShardId } from "../../mail/ids.ts";
import type { SpoolRequest } from "../../mail/spool.ts";
import type { Links, Peer } from "../link/rpc.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { headOf, shardPrincipal } from "./mail-service.ts";
import { confirmMethod, spoolMethod } from "./methods-spool.ts";
import type { KnownShards } from "./shard-table.ts";

export interface SpoolRouterOptions {
  readonly table: KnownShards;
  readonly links: Links;
  readonly clock: Clock;
}

/** How long one primary has to take the mail, all together have, and how many are asked. */
const tryMs = 1500;
const totalMs = 2500;
const triesMax = 3;
const confirmEveryMs = 200;
/** So many frames within that time go at once; what is more waits, and travels with deliveries. */
const soonFramesMax = 50;
const confirmationsMax = 20_000;
const perFrameMax = 5000;
const perDeliveryMax = 1000;

export class SpoolRouter {
  readonly #options: SpoolRouterOptions;
  readonly #confirmed = new Map<ShardId, OpId[]>();
  #waiting = 0;
  #timer: Timer | undefined;
  #turn = 0;
  #soonLeft = soonFramesMax;
  #soonDue = false;

  constructor(options: SpoolRouterOptions) {
    this.#options = options;
  }

  /** @see MailStore.spool */
  async spool(request: SpoolRequest, signal: AbortSignal): Promise<void> {
    const { args, body } = spoolMethod.encode(request);
    const { source, parts } = request;
    const only = source.kind === "blob" ? source.blob.shard : request.shard;
    const avoid = parts.map((part) => part.shard);
    const { links, clock } = this.#options;
    const untilMs = clock.monotonicMs() + totalMs;
    let failure: MailError | undefined;
    for (const { shard, epoch, primary } of this.#candidates(only, avoid)) {
      signal.throwIfAborted();
      const peer = links.peer(primary.node);
      const head = headOf(epoch, shardPrincipal(shard), args);
      const deadlineMs = Math.min(tryMs, untilMs - clock.monotonicMs());
      if (deadlineMs <= 0) break;
      const options = { signal, deadlineMs, ...(body === undefined ? {} : { body }) };
      try {
        await peer.call(spoolMethod.name, head, options);
        return;
      } catch (error) {
        if (!isMailError(error)) throw error;
        failure = error;
      }
    }
    throw failure ?? new MailError({ code: "UNAVAILABLE", why: "no shard can take mail over" });
  }

  /** Another shard than this one that can take mail over now, with its primary. */
  choose(
    shard: ShardId,
  ): { readonly peer: Peer; readonly epoch: Epoch; readonly at: ShardId } | undefined {
    const [chosen] = this.#candidates(undefined, [shard]);
    if (chosen === undefined || chosen.shard === shard) return undefined;
    const { epoch, primary, shard: at } = chosen;
    return { peer: this.#options.links.peer(primary.node), epoch, at };
  }

  /** @see MailStore.confirm */
  confirm(shard: ShardId, deliveries: readonly OpId[]): void {
    // Dropped, they stay unconfirmed: the same mail again within a day is then taken for a repetition.
    if (this.#waiting + deliveries.length > confirmationsMax) return;
    const waiting = this.#confirmed.get(shard);
    if (waiting === undefined) this.#confirmed.set(shard, [...deliveries]);
    else waiting.push(...deliveries);
    this.#waiting += deliveries.length;
    this.#timer ??= this.#options.clock.after(confirmEveryMs, () => this.#flush());
    // The client may send the same again next, by way of another gateway, and mean it.
    if (this.#soonDue || this.#soonLeft <= 0) return;
    this.#soonDue = true;
    queueMicrotask(() => {
      this.#soonDue = false;
      this.#soonLeft -= this.#send();
    });
  }

  /** Confirmations for the shard, to travel with its next delivery; undefined when none wait. */
  takeConfirmed(shard: ShardId): readonly OpId[] | undefined {
    const waiting = this.#confirmed.get(shard);
    if (waiting === undefined) return undefined;
    const taken = waiting.splice(0, perDeliveryMax);
    if (waiting.length === 0) this.#confirmed.delete(shard);
    this.#waiting -= taken.length;
    return taken;
  }

  /** Sends what waits, as far as links are up. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#send();
  }

  #flush(): void {
    this.#timer = undefined;
    this.#soonLeft = soonFramesMax;
    this.#send();
    if (this.#waiting > 0)
      this.#timer = this.#options.clock.after(confirmEveryMs, () => this.#flush());
  }

  /** @returns how many frames went. */
  #send(): number {
    const { table, links } = this.#options;
    let frames = 0;
    for (const [shard, waiting] of this.#confirmed) {
      const config = table.get(shard);
      const peer = config === undefined ? undefined : links.peer(config.primary.node);
      if (peer?.up !== true) continue;
      for (let at = 0; at < waiting.length; at += perFrameMax) {
        peer.send(confirmMethod, [shard, waiting.slice(at, at + perFrameMax)]);
        frames += 1;
      }
      this.#waiting -= waiting.length;
      this.#confirmed.delete(shard);
    }
    return frames;
  }

  /** Shards in the order in which they are asked, each on another primary; the healthiest first. */
  #candidates(only: ShardId | undefined, avoid: readonly ShardId[]): readonly ShardConfig[] {
    const { table, links } = this.#options;
    const isUp = (node: MemberId): boolean => links.peer(node).up;
    const scored = table
      .all()
      .filter((config) => only === undefined || config.shard === only)
      .filter((config) => isUp(config.primary.node) && copiesOf(config) >= config.minCopies)
      .map((config) => {
        const whole = config.secondaries.every(({ node, full }) => full && isUp(node));
        return { config, score: (whole ? 0 : 2) + (avoid.includes(config.shard) ? 1 : 0) };
      });
    if (scored.length === 0) return [];
    // From another place each time, so that the load is spread over shards.
    const turn = this.#turn++ % scored.length;
    const turned = [...scored.slice(turn), ...scored.slice(0, turn)];
    turned.sort((a, b) => a.score - b.score);
    const chosen = new Map<MemberId, ShardConfig>();
    for (const { config } of turned)
      if (!chosen.has(config.primary.node)) chosen.set(config.primary.node, config);
    return [...chosen.values()].slice(0, triesMax);
  }
}

function copiesOf(config: ShardConfig): number {
  return 1 + config.secondaries.length;
}
