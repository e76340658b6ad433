// Who waits for which entry of one shard, and which operations its log holds: the part of the store's
// engine that the simulator needs.

import { lsn as makeLsn } from "../../../src/mail/ids.ts";
import type { Lsn } from "../../../src/mail/ids.ts";
import type { Run } from "./disk.ts";

/** Entries travel as numbers of operations; 0 is NEWEPOCH. */
export type Op = number;

/** One try of a client's write. */
export interface Waiter {
  readonly op: Op;
  readonly answer: (outcome: "ok" | "unknown", lsn: Lsn) => void;
}

export class Requests {
  readonly #waiters = new Map<number, Waiter[]>();
  /** Operations of the whole log, also of what is not committed: the table of duplicates. */
  readonly known = new Map<Op, number>();

  learn(main: Run): void {
    this.known.clear();
    for (const { op, lsn } of main.entries) if (op !== 0) this.known.set(op, lsn);
  }

  wait(lsn: number, waiter: Waiter): void {
    const waiting = this.#waiters.get(lsn);
    if (waiting === undefined) this.#waiters.set(lsn, [waiter]);
    else waiting.push(waiter);
  }

  /** Takes out who waits for entries `from` to `through`. */
  take(
    from: number,
    through: number,
  ): readonly { readonly lsn: number; readonly waiter: Waiter }[] {
    const taken: { lsn: number; waiter: Waiter }[] = [];
    for (const [lsn, waiters] of this.#waiters) {
      if (lsn < from || lsn > through) continue;
      this.#waiters.delete(lsn);
      for (const waiter of waiters) taken.push({ lsn, waiter });
    }
    return taken;
  }

  /** Their outcome is unknown. */
  giveUp(from: number, through: number): void {
    for (const { lsn, waiter } of this.take(from, through)) waiter.answer("unknown", makeLsn(lsn));
  }
}
