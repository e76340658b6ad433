// A mail node's spool at work: delivers what waits in the spools of the shards it is primary of, to
// itself or through the links, tells the log, and counts for metrics.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import type { ShardId } from "../../mail/ids.ts";
import type { MailStore } from "../../mail/mail-store.ts";
import type { OpenedStore } from "../../store/open-store.ts";
import { SpoolDrain } from "../../store/spool-drain.ts";
import type { SpoolUse } from "../../store/spool-usage.ts";
import type { Links } from "../link/rpc.ts";
import { RoutedMailStore } from "./routed-mail-store.ts";
import type { ShardTable } from "./shard-table.ts";

export interface NodeSpoolOptions {
  readonly opened: Pick<OpenedStore, "engine" | "store" | "journal" | "log">;
  readonly table: ShardTable;
  readonly links: Links;
  readonly clock: Clock;
  readonly logger: Logger;
  /** In bounce messages. */
  readonly hostName: string;
}

export interface SpoolFigures extends SpoolUse {
  readonly delivered: number;
  /** Recipients that will never have their mail; of them those whose sender could not be told. */
  readonly failed: number;
  readonly untold: number;
}

/** A primary that does not answer is tried again later: the spool has time. */
const retryMs = 1500;

export class NodeSpool {
  readonly #options: NodeSpoolOptions;
  readonly #drain: SpoolDrain;
  readonly #counts = { delivered: 0, failed: 0, untold: 0 };
  readonly #off: () => void;

  constructor(options: NodeSpoolOptions) {
    this.#options = options;
    const { opened, table, hostName } = options;
    this.#drain = new SpoolDrain({
      engine: opened.engine,
      target: targetOf(options),
      shards: () => opened.log.shards.keys(),
      hostName,
      news: {
        delivered: () => {
          this.#counts.delivered += 1;
        },
        failed: (row, why, told) => {
          this.#counts.failed += 1;
          if (!told) this.#counts.untold += 1;
          const { deliveryId, sender, recipient } = row;
          const facts = { deliveryId, sender, recipient: recipient.address, why, told };
          options.logger.error(facts, "accepted mail could not be delivered");
        },
        delayed: (shard, error) => {
          options.logger.debug({ shard, err: error }, "spooled mail waits");
        },
      },
    });
    this.#off = table.onChange(() => this.#drain.wake());
    this.#drain.start();
  }

  get figures(): SpoolFigures {
    return { ...this.#options.opened.engine.spoolUsage.total, ...this.#counts };
  }

  async stop(): Promise<void> {
    this.#off();
    await this.#drain.stop();
  }
}

function targetOf({
  opened,
  table,
  links,
  clock,
}: NodeSpoolOptions): Pick<MailStore, "deliver" | "writeBlob"> {
  const routed = new RoutedMailStore({ table, links, clock, retryMs });
  // A node has no link to itself.
  const storeOf = (shard: ShardId): MailStore =>
    opened.journal.serves(shard) ? opened.store : routed;
  return {
    deliver: (request, signal) => storeOf(request.shard).deliver(request, signal),
    writeBlob: (shard, id, chunks, signal) => storeOf(shard).writeBlob(shard, id, chunks, signal),
  };
}
