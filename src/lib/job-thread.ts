// A worker thread for jobs that would keep the event loop busy: started by the first job, ended when there
// was none for a while. Its entry answers each message with one message.

import type { Worker, WorkerOptions } from "node:worker_threads";
import { startThread } from "./start-thread.ts";

const idleMs = 60_000;

interface Waiter<Answer> {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class JobThread<Job, Answer> {
  readonly #from: string;
  readonly #entry: string;
  readonly #options: WorkerOptions;
  #worker: Worker | undefined;
  #waiting: Waiter<Answer> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;
  #stopped = false;

  /** As `startThread`. */
  constructor(from: string, entry: string, options: WorkerOptions) {
    this.#from = from;
    this.#entry = entry;
    this.#options = options;
  }

  /**
   * Does a job when those before it are done. Rejects when the thread died of it, or was stopped.
   * @param transfer memory that the job takes with it.
   */
  run(job: Job, transfer: readonly ArrayBuffer[]): Promise<Answer> {
    const done = this.#last.then(() => this.#runNow(job, transfer));
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Ends the thread; jobs under way and to come reject. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#end();
  }

  #runNow(job: Job, transfer: readonly ArrayBuffer[]): Promise<Answer> {
    if (this.#stopped) return Promise.reject(new Error("the thread was stopped"));
    clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      worker.postMessage(job, transfer);
      worker.ref();
    });
  }

  #start(): Worker {
    const worker = startThread(this.#from, this.#entry, this.#options);
    worker.on("message", (answer: Answer) => {
      worker.unref();
      this.#idle = setTimeout(() => {
        this.#end().catch(() => undefined);
      }, idleMs).unref();
      this.#take()?.resolve(answer);
    });
    const ended = (error: Error): void => {
      if (this.#worker === worker) this.#worker = undefined;
      this.#take()?.reject(error);
    };
    worker.on("error", ended);
    worker.on("exit", () => ended(new Error("the thread ended")));
    return worker;
  }

  #take(): Waiter<Answer> | undefined {
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

/** The memory of those that have it to themselves, which may be handed over instead of copied. */
export function ownMemory(bytes: readonly Uint8Array[]): ArrayBuffer[] {
  return bytes.flatMap(({ buffer, byteLength }) =>
    buffer instanceof ArrayBuffer && buffer.byteLength === byteLength && byteLength > pooledBytes
      ? [buffer]
      : [],
  );
}

/** Smaller buffers may be parts of a pool, which can't be handed over. */
const pooledBytes = 64 * 1024;
