// Operations proposed and not yet applied, by opId. A repeated request attaches to the one that runs;
// an operation whose outcome is unknown stays here until it is applied or its shard is reset.

import { MailError } from "../mail/errors.ts";
import type { OpId, ShardId } from "../mail/ids.ts";
import type { AccountState } from "./account-state.ts";

export interface PendingOp {
  readonly shard: ShardId;
  /** Accounts that the entry changes. */
  readonly accounts: readonly AccountState[];
  /** Run when the entry is applied, or with an error when this process will never learn of it. */
  readonly settled: ((error: MailError | undefined) => void)[];
}

export class PendingOps {
  readonly #ops = new Map<OpId, PendingOp>();

  get size(): number {
    return this.#ops.size;
  }

  get(opId: OpId): PendingOp | undefined {
    return this.#ops.get(opId);
  }

  add(opId: OpId, op: PendingOp): void {
    this.#ops.set(opId, op);
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
