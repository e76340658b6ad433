// What the replicated journal of a node is put together from.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { Apply } from "../../store/journal.ts";
import type { RawEntry, SegmentLog } from "../../store/log/types.ts";
import type { CopyPoint } from "../../store/shard-copy.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import type { Limits } from "../protocol/replica-state.ts";
import type { Copy } from "../protocol/shard-config.ts";
import type { LeaseSource } from "./lease-source.ts";
import type { ShellContext } from "./replica-shell.ts";

export interface JournalOptions {
  readonly me: Copy;
  /** Given by the coordinator at registration. */
  readonly incarnation: number;
  readonly log: SegmentLog;
  readonly links: Links;
  readonly registry: RpcRegistry;
  readonly apply: Apply;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The decoded head, for `apply`, and the blobs that the entry refers to and this node lacks. */
  readonly inspect: (raw: RawEntry) => {
    readonly payload: unknown;
    readonly missing: readonly string[];
  };
  readonly roleChanged: (shard: ShardId) => void;
  readonly sendBlobs: ShellContext["sendBlobs"];
  readonly saveCut: ShellContext["saveCut"];
  /** Makes copies anew; without it a copy that the log can't fill stays as it is. */
  readonly copies?: {
    take(shard: ShardId, from: MemberId): Promise<CopyPoint | undefined>;
    cancel(shard: ShardId): void;
  };
  /**
   * The pulse. Production always passes it: without it there are no leases, and nothing fences a primary
   * that was cut off. For a node on its own, and tests of other things.
   */
  readonly leases?: LeaseSource;
  /** Our bug: the process must end. */
  readonly onFatal?: (error: unknown) => void;
  /** Calls `run` once at the end of the present tick. */
  readonly soon: (run: () => void) => void;
  readonly limits?: Partial<Limits>;
  /** Uncommitted bytes of all shards, 128 MiB by default: more is refused with BUSY. */
  readonly uncommittedBytesMax?: number;
}
