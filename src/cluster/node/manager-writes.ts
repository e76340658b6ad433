// Changes of the shard table by compare-and-set: what is asked for within one turn of the event loop
// shares transactions, a refused one is retried key by key, and an unknown outcome is resolved by
// reading the key again.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import { DecodeError } from "../../lib/decode.ts";
import type { Random } from "../../lib/random.ts";
import { isMailError } from "../../mail/errors.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";
import { changesMax } from "../coordinator/coordinator.ts";
import type { Coordinator, KeyState } from "../coordinator/coordinator.ts";
import type { ShardPlan } from "../protocol/manager-types.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { pause } from "./follow-keys.ts";
import { decodeShardConfig, encodeShardConfig, shardKey } from "./shard-codec.ts";
import type { ShardTable } from "./shard-table.ts";

export interface ManagerWritesOptions {
  readonly coordinator: Coordinator;
  readonly table: ShardTable;
  readonly random: Random;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * How a write ended: what the key holds now; undefined when it couldn't be read. `revision` is the
   * key's, where it is known.
   */
  readonly onWrote: (outcome: {
    readonly shard: ShardId;
    readonly ifEpoch: Epoch;
    readonly current: ShardConfig | undefined;
    readonly revision: number | undefined;
  }) => void;
}

interface Write {
  readonly config: ShardConfig;
  readonly ifEpoch: Epoch;
}

const readTriesMax = 10;
const readPauseMs = 200;

export class ManagerWrites {
  readonly #options: ManagerWritesOptions;
  readonly #stop = new AbortController();
  /** One a shard: of two wishes for it within a turn the later one counts. */
  #queue = new Map<ShardId, Write>();

  constructor(options: ManagerWritesOptions) {
    this.#options = options;
  }

  /** Begins at the end of this turn. */
  write(plan: ShardPlan, ifEpoch: Epoch): void {
    const config = { ...plan, nonce: this.#options.random.hex(8) };
    const first = this.#queue.size === 0;
    this.#queue.set(config.shard, { config, ifEpoch });
    if (!first) return;
    setImmediate(() => {
      const due = [...this.#queue.values()];
      this.#queue.clear();
      for (let at = 0; at < due.length; at += changesMax) {
        this.#commit(due.slice(at, at + changesMax)).then(
          () => undefined,
          (error: unknown) => {
            this.#options.logger.error({ err: error }, "change of the shard table failed");
          },
        );
      }
    });
  }

  close(): void {
    this.#stop.abort();
  }

  async #commit(writes: readonly Write[]): Promise<void> {
    const { coordinator } = this.#options;
    const changes = writes.map(({ config, ifEpoch }) => {
      const ifRevision = this.#revisionOf(config.shard, ifEpoch);
      const value = encodeShardConfig(config);
      return ifRevision === undefined
        ? undefined
        : { key: shardKey(config.shard), ifRevision, value };
    });
    const known = changes.filter((change) => change !== undefined);
    if (known.length < writes.length) return this.#oneByOne(writes);
    try {
      const { ok, revision } = await coordinator.compareAndSet(known);
      if (ok) {
        for (const { config, ifEpoch } of writes) this.#done(config, ifEpoch, config, revision);
        return undefined;
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
      return this.#readBack(writes);
    }
    return this.#oneByOne(writes);
  }

  async #oneByOne(writes: readonly Write[]): Promise<void> {
    await Promise.all(writes.map((write) => this.#commitOne(write)));
  }

  /** Reads the key first: someone has changed it, or its revision is not known. */
  async #commitOne({ config, ifEpoch }: Write): Promise<void> {
    const { coordinator } = this.#options;
    const key = shardKey(config.shard);
    try {
      const state = await coordinator.get(key);
      const present = this.#decode(state);
      if (state === undefined || present?.epoch !== ifEpoch) {
        return this.#done(config, ifEpoch, present, state?.revision);
      }
      const value = encodeShardConfig(config);
      const change = { key, ifRevision: state.revision, value };
      const { ok, revision } = await coordinator.compareAndSet([change]);
      if (ok) return this.#done(config, ifEpoch, config, revision);
    } catch (error) {
      if (!isPassing(error)) throw error;
    }
    return this.#readBack([{ config, ifEpoch }]);
  }

  /** What became of it? Values carry their writer's nonce, epochs only grow. */
  async #readBack(writes: readonly Write[]): Promise<void> {
    const { coordinator, clock } = this.#options;
    const { signal } = this.#stop;
    for (const { config, ifEpoch } of writes) {
      let state: KeyState | undefined;
      for (let tries = 0; tries < readTriesMax && !signal.aborted; tries += 1) {
        try {
          await coordinator.readBarrier();
          state = await coordinator.get(shardKey(config.shard));
          break;
        } catch (error) {
          if (!isPassing(error)) throw error;
          await pause(clock, readPauseMs, signal);
        }
      }
      this.#done(config, ifEpoch, this.#decode(state), state?.revision);
    }
  }

  #done(
    { shard }: ShardConfig,
    ifEpoch: Epoch,
    current: ShardConfig | undefined,
    revision: number | undefined,
  ): void {
    if (!this.#stop.signal.aborted) this.#options.onWrote({ shard, ifEpoch, current, revision });
  }

  #revisionOf(shard: ShardId, ifEpoch: Epoch): number | undefined {
    const { table } = this.#options;
    return table.get(shard)?.epoch === ifEpoch ? table.revisionOf(shard) : undefined;
  }

  #decode(state: KeyState | undefined): ShardConfig | undefined {
    if (state === undefined) return undefined;
    try {
      return decodeShardConfig(state.value);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#options.logger.error({ err: error }, "value in the coordinator is not understood");
      return undefined;
    }
  }
}

function isPassing(error: unknown): boolean {
  return isMailError(error, "UNAVAILABLE") || isMailError(error, "BUSY");
}
