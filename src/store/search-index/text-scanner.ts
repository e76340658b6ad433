// Large texts for SEARCH, decoded and looked through in a thread: sixteen megabytes would stop the event
// loop, and with it everybody's mail, for a large part of a second.

import { JobThread, ownMemory } from "../../lib/job-thread.ts";
import type { RawPiece } from "../message-pieces.ts";
import type { TextScan } from "../search-hints.ts";

export interface ScanJob {
  readonly pieces: readonly RawPiece[];
  readonly texts: readonly string[];
}

const heapMbMax = 1024;

export interface TextScanner {
  readonly scan: TextScan;
  stop(): Promise<void>;
}

/** Costs nothing before the first large text. */
export function textScanner(): TextScanner {
  const thread = new JobThread<ScanJob, readonly boolean[]>(import.meta.url, "scan-thread", {
    name: "text-scan",
    resourceLimits: { maxOldGenerationSizeMb: heapMbMax },
  });
  return {
    scan: (pieces, texts) => {
      const plain = pieces.map(({ bytes, part }) => ({ bytes, part }));
      const memory = ownMemory(plain.map(({ bytes }) => bytes));
      // What it can't do, SEARCH does itself.
      return thread.run({ pieces: plain, texts }, memory).catch(() => undefined);
    },
    stop: () => thread.stop(),
  };
}
