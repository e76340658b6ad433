// The node's part after a promotion by force: while the table calls a shard of ours forced, nobody is
// answered; its mailboxes get new UIDVALIDITYs as soon as changes can be committed, then the table is
// told. Which shards are forced is force-promote.ts's.

import type { Clock, Timer } from "../../lib/clock.ts";
import type { Logger } from "pino";
import type { Random } from "../../lib/random.ts";
import { isMailError } from "../../mail/errors.ts";
import type { ShardId } from "../../mail/ids.ts";
import type { Engine } from "../../store/engine.ts";
import { renewUidValidities } from "../../store/renew-uid-validity.ts";
import type { Coordinator } from "../coordinator/coordinator.ts";
import { renewed } from "../protocol/manager-plan.ts";
import { sameCopy } from "../protocol/shard-config.ts";
import type { Copy } from "../protocol/shard-config.ts";
import type { ReplicatedJournal } from "./replicated-journal.ts";
import { decodeShardConfig, encodeShardConfig, shardKey } from "./shard-codec.ts";
import type { ShardTable } from "./shard-table.ts";

export interface RenewalsOptions {
  readonly me: Copy;
  readonly journal: ReplicatedJournal;
  readonly engine: Engine;
  readonly coordinator: Coordinator;
  readonly table: ShardTable;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const everyMs = 200;

export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #stop = new AbortController();
  readonly #running = new Set<ShardId>();
  #timer: Timer | undefined;

  constructor(options: RenewalsOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, journal } = this.#options;
    this.#timer = clock.after(everyMs, () => this.start());
    for (const { shard, state } of journal.replicas()) {
      const isDue = state.config?.forced === true && state.role === "primary";
      if (isDue && !this.#running.has(shard) && journal.serves(shard)) this.#run(shard);
    }
  }

  close(): void {
    this.#stop.abort();
    this.#timer?.cancel();
  }

  #run(shard: ShardId): void {
    this.#running.add(shard);
    this.#renew(shard)
      .catch((error: unknown) => {
        // Nothing can be committed yet, or the part of primary has gone: again, here or there.
        const { logger } = this.#options;
        if (this.#stop.signal.aborted) return;
        if (!isMailError(error)) logger.error({ shard, err: error }, "UIDVALIDITYs not renewed");
        else logger.debug({ shard, err: error }, "UIDVALIDITYs not renewed yet");
      })
      .finally(() => this.#running.delete(shard));
  }

  async #renew(shard: ShardId): Promise<void> {
    const { me, engine, coordinator, table, random, logger } = this.#options;
    const mailboxes = await renewUidValidities(engine, shard, this.#stop.signal);
    const key = shardKey(shard);
    const state = await coordinator.get(key);
    if (state === undefined) return;
    const present = decodeShardConfig(state.value);
    if (present.forced !== true || !sameCopy(present.primary, me)) return;
    const next = { ...renewed(present), nonce: random.hex(8) };
    const value = encodeShardConfig(next);
    const written = await coordinator.compareAndSet([{ key, ifRevision: state.revision, value }]);
    if (!written.ok) return;
    logger.warn({ shard, mailboxes }, "mailboxes have new UIDVALIDITYs");
    table.learn(next, written.revision);
  }
}
