// Where the jobs of the search index run: in a thread of its own. One job at a time.

import { JobThread, ownMemory } from "../../lib/job-thread.ts";
import { doJob } from "./index-job.ts";

export interface IndexWorker {
  /**
   * Does a job of index-job.ts; rows, packed, or undefined when what was to be merged is damaged.
   * Takes the job's memory. Rejects when the worker died of it.
   */
  run(job: Uint8Array): Promise<Uint8Array | undefined>;
  /** Ends it; a job under way rejects. */
  stop(): Promise<void>;
}

const heapMbMax = 256;

/** A thread of its own. */
export function threadWorker(): IndexWorker {
  const thread = new JobThread<Uint8Array, Uint8Array | undefined>(
    import.meta.url,
    "index-thread",
    {
      name: "search-index",
      resourceLimits: { maxOldGenerationSizeMb: heapMbMax },
    },
  );
  return { run: (job) => thread.run(job, ownMemory([job])), stop: () => thread.stop() };
}

/** In the caller's own thread, for tools and tests. */
export const inlineWorker: IndexWorker = {
  run: (job) => Promise.resolve(doJob(job)),
  stop: () => Promise.resolve(),
};
