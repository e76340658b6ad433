// Full copies of shards out of one store and into it, with how far they are. The work is in
// shard-export.ts and shard-import.ts; who copies what from whom is the cluster's decision.

import { MailError } from "../mail/errors.ts";
import type { ShardId } from "../mail/ids.ts";
import type { DiskRoom } from "./disk-room.ts";
import type { Engine } from "./engine.ts";
import type { BlobStore } from "./log/blob-store.ts";
import type { SegmentLog } from "./log/types.ts";
import type { CopyPiece, CopyPoint, ShardCopies } from "./shard-copy.ts";
import { exportShard } from "./shard-export.ts";
import { importShard } from "./shard-import.ts";

export interface CopyProgress {
  readonly shard: ShardId;
  readonly direction: "out" | "in";
  /** Of rows and bodies, as they travel. */
  readonly doneBytes: number;
  /** An estimate. */
  readonly ofBytes: number;
  /** Bodies that the giver's copy has not unharmed either. */
  readonly lostBodies: number;
}

export interface StoreCopiesParts {
  readonly engine: Engine;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  /** @see Upkeep.hold */
  readonly hold: () => Promise<() => void>;
  readonly room: DiskRoom;
}

const copiesMax = 2;

export class StoreCopies implements ShardCopies {
  readonly #parts: StoreCopiesParts;
  readonly #underWay = new Set<Running>();

  constructor(parts: StoreCopiesParts) {
    this.#parts = parts;
  }

  /** Copies that run now. */
  get progress(): readonly CopyProgress[] {
    return [...this.#underWay].map((running) => ({ ...running }));
  }

  async *exportShard(shard: ShardId, signal: AbortSignal): AsyncGenerator<CopyPiece> {
    const { engine, log, blobs, hold } = this.#parts;
    const running = this.#begin(shard, "out");
    try {
      engine.unconfirmed.save();
      const mend = (tag: number, lsn: number) => engine.mendBody(tag, lsn);
      const parts = { rows: engine.rows, log, blobs, hold, mend };
      for await (const piece of exportShard(parts, shard, signal)) {
        count(running, piece);
        yield piece;
      }
    } finally {
      this.#underWay.delete(running);
    }
  }

  /** @throws {MailError} DISK_FULL, too: this disk has no room for a copy. */
  async importShard(
    shard: ShardId,
    pieces: AsyncIterable<CopyPiece>,
    signal: AbortSignal,
  ): Promise<CopyPoint> {
    const { engine, log, blobs, hold, room } = this.#parts;
    if (room.level !== "ample") throw new MailError({ code: "DISK_FULL" });
    const running = this.#begin(shard, "in");
    try {
      const onPiece = (piece: CopyPiece, lostBodies: number): void => {
        count(running, piece);
        running.lostBodies = lostBodies;
      };
      return await importShard({ engine, log, blobs, hold, onPiece }, shard, pieces, signal);
    } finally {
      this.#underWay.delete(running);
    }
  }

  #begin(shard: ShardId, direction: Running["direction"]): Running {
    let same = 0;
    for (const other of this.#underWay) {
      if (other.direction !== direction) continue;
      same++;
      if (other.shard === shard && direction === "in") throw busy();
    }
    if (same >= copiesMax) throw busy();
    const running: Running = { shard, direction, doneBytes: 0, ofBytes: 0, lostBodies: 0 };
    this.#underWay.add(running);
    return running;
  }
}

interface Running {
  readonly shard: ShardId;
  readonly direction: CopyProgress["direction"];
  doneBytes: number;
  ofBytes: number;
  lostBodies: number;
}

function count(running: Running, piece: CopyPiece): void {
  if (piece.kind === "begin") running.ofBytes = piece.bytes;
  else if (piece.kind !== "end" && piece.kind !== "blob")
    running.doneBytes += piece.bytes.byteLength;
}

function busy(): MailError {
  return new MailError({ code: "BUSY", what: "copies of shards" });
}
