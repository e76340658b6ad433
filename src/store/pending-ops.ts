// Operations proposed and not yet applied, by opId. A repeated request attaches to the one that runs;
// an operation whose outcome is unknown stays here until it is applied or its shard is reset.

import { RecentMap } from "../lib/recent-map.ts";
import { MailError } from "../mail/errors.ts";
import type { OpId, ShardId } from "../mail/ids.ts";
import type { AccountState } from "./account-state.ts";

const retriedKept = 50_000;

export interface PendingOp {
  readonly shard: ShardId;
  /** Accounts that the entry changes. */
  readonly accounts: readonly AccountState[];
  /** Run when the entry is applied, or with an error when this process will never learn of it. */
  readonly settled: ((error: MailError | undefined) => void)[];
}

export class PendingOps {
  readonly #ops = new Map<OpId, PendingOp>();
  /** Operations that came as retries lately. */
  readonly #retried = new RecentMap<OpId, true>(retriedKept);
  /** Requests from their arrival to their answer, and who waits for that. */
  readonly #requests = new Map<OpId, (() => void)[]>();

  get size(): number {
    return this.#ops.size;
  }

  get(opId: OpId): PendingOp | undefined {
    return this.#ops.get(opId);
  }

  add(opId: OpId, op: PendingOp): void {
    this.#ops.set(opId, op);
  }

  /**
   * True when the operation may have been seen before. A first try that comes behind its own retry,
   * from a link that was given up, is a retry, too.
   */
  isAgain(opId: OpId, retry: boolean): boolean {
    if (!retry) return this.has(opId) || (!this.#retried.empty && this.#retried.has(opId));
    this.#retried.set(opId, true);
    return true;
  }

  /** True while a request with this opId runs, or its entry is not yet applied. */
  has(opId: OpId): boolean {
    return this.#requests.has(opId) || this.#ops.has(opId);
  }

  /** Runs a request; the same one again meanwhile finds it by `has`. */
  async request<T>(opId: OpId, run: () => Promise<T>): Promise<T> {
    const waiting: (() => void)[] = [];
    this.#requests.set(opId, waiting);
    try {
      return await run();
    } finally {
      this.#requests.delete(opId);
      for (const wake of waiting) wake();
    }
  }

  /** Resolves when the running request is answered and its entry, if it made one, is applied. */
  async finished(opId: OpId): Promise<void> {
    const waiting = this.#requests.get(opId);
    if (waiting !== undefined) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
      });
    }
    await this.applied(opId);
  }

  /** Takes the operation out: it is applied, or it never got into the log. */
  take(opId: OpId): PendingOp | undefined {
    const op = this.#ops.get(opId);
    if (op !== undefined) this.#ops.delete(opId);
    return op;
  }

  /** Resolves when the operation is applied. @throws MailError REPLICA_UNREACHABLE */
  async applied(opId: OpId): Promise<void> {
    const op = this.#ops.get(opId);
    if (op === undefined) return;
    await new Promise<void>((resolve, reject) => {
      op.settled.push((error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
  }

  /** This member no longer is the shard's primary: nobody here will learn what becomes of them. */
  reset(shard: ShardId): void {
    for (const [opId, op] of this.#ops) {
      if (op.shard !== shard) continue;
      this.#ops.delete(opId);
      for (const run of op.settled) run(new MailError({ code: "REPLICA_UNREACHABLE", shard }));
    }
  }
}
