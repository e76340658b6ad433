// Where the jobs of the search index run: a thread that is started by the first job, and ended when there
// was none for a while. One job at a time.

import type { Worker } from "node:worker_threads";
import { assert } from "../../lib/assert.ts";
import { startThread } from "../../lib/start-thread.ts";
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

const idleMs = 60_000;
const heapMbMax = 256;

/** A thread of its own. */
export class ThreadWorker implements IndexWorker {
  #worker: Worker | undefined;
  #waiting: PromiseWithResolvers | undefined;
  #idle: NodeJS.Timeout | undefined;
  #stopped = false;

  run(job: Uint8Array): Promise<Uint8Array | undefined> {
    assert(this.#waiting === undefined, "one job at a time");
    if (this.#stopped) return Promise.reject(new Error("the worker was stopped"));
    clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
    const done = new Promise<Uint8Array | undefined>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    const { buffer } = job;
    if (buffer instanceof ArrayBuffer && buffer.byteLength === job.byteLength) {
      worker.postMessage(job, [buffer]);
    } else worker.postMessage(job);
    worker.ref();
    return done;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#end();
  }

  #start(): Worker {
    const worker = startThread(import.meta.url, "index-thread", {
      name: "search-index",
      resourceLimits: { maxOldGenerationSizeMb: heapMbMax },
    });
    worker.on("message", (rows: Uint8Array | undefined) => {
      worker.unref();
      this.#take()?.resolve(rows);
      this.#idle = setTimeout(() => void this.#end(), idleMs).unref();
    });
    const ended = (error: Error): void => {
      if (this.#worker === worker) this.#worker = undefined;
      this.#take()?.reject(error);
    };
    worker.on("error", ended);
    worker.on("exit", () => ended(new Error("the search index's thread ended")));
    return worker;
  }

  #take(): PromiseWithResolvers | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }

  async #end(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}

interface PromiseWithResolvers {
  readonly resolve: (rows: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
}

/** In the caller's own thread, for tools and tests. */
export const inlineWorker: IndexWorker = {
  run: (job) => Promise.resolve(doJob(job)),
  stop: () => Promise.resolve(),
};
