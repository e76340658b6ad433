// Managers' calls to one replica (SEAL, HANDOVER, graft) until its machine answers them, and who waits
// for entries that are shown but lie on one disk only. What the answers say is protocol/'s.

import { MailError } from "../../mail/errors.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { Position, SealAnswer } from "../protocol/manager-types.ts";
import { positionOf, sealAnswerOf } from "../protocol/replica-report.ts";
import type { ReplicaState } from "../protocol/replica-state.ts";
import type { ReplicaEffect } from "../protocol/replica-types.ts";

/** Effects that answer calls. */
export type CallEffect = Extract<
  ReplicaEffect<unknown>,
  { kind: "sealed" | "sealRefused" | "handedOver" | "handOverRefused" | "grafted" }
>;

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: MailError) => void;
}

/** Managers ask again while they are not answered: more than so many wait in vain. */
const callsMax = 64;

export class ReplicaCalls {
  #seals: Waiter<SealAnswer>[] = [];
  #handOvers: Waiter<Position | undefined>[] = [];
  #grafts: Waiter<Position | undefined>[] = [];
  #settling: (Waiter<void> & { readonly lsn: Lsn; readonly sinceMs: number })[] = [];

  seal(): Promise<SealAnswer> {
    return waitIn(this.#seals);
  }

  handOver(): Promise<Position | undefined> {
    return waitIn(this.#handOvers);
  }

  graft(): Promise<Position | undefined> {
    return waitIn(this.#grafts);
  }

  /** Resolves once everything up to `lsn` is committed, not only shown. */
  settled(lsn: Lsn, sinceMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settling.push({ lsn, sinceMs, resolve, reject });
    });
  }

  answer(effect: CallEffect, state: Readonly<ReplicaState>): void {
    switch (effect.kind) {
      case "sealed":
      case "sealRefused":
        for (const { resolve } of this.#seals.splice(0)) resolve(sealAnswer(effect, state));
        return;
      case "handedOver":
      case "handOverRefused": {
        const position = effect.kind === "handedOver" ? positionOf(state) : undefined;
        for (const { resolve } of this.#handOvers.splice(0)) resolve(position);
        return;
      }
      default: {
        const position = effect.ok ? positionOf(state) : undefined;
        for (const { resolve } of this.#grafts.splice(0)) resolve(position);
      }
    }
  }

  committed(through: Lsn): void {
    if (this.#settling.length === 0) return;
    const done = this.#settling.filter(({ lsn }) => lsn <= through);
    this.#settling = this.#settling.filter(({ lsn }) => lsn > through);
    for (const { resolve } of done) resolve();
  }

  /** Whoever has waited for entries to be settled here since `untilMs` or before has waited in vain. */
  unsettled(shard: ShardId, untilMs: number): void {
    if (this.#settling.length === 0) return;
    const late = this.#settling.filter(({ sinceMs }) => sinceMs <= untilMs);
    this.#settling = this.#settling.filter(({ sinceMs }) => sinceMs > untilMs);
    const error = { code: "REPLICA_UNREACHABLE", shard } as const;
    for (const { reject } of late) reject(new MailError(error));
  }

  stop(error: MailError): void {
    for (const list of [this.#seals, this.#handOvers, this.#grafts, this.#settling]) {
      for (const { reject } of list.splice(0)) reject(error);
    }
  }
}

/** The oldest gives way: whoever asked has given it up by now. */
function waitIn<T>(list: Waiter<T>[]): Promise<T> {
  if (list.length >= callsMax) {
    const why = "a manager's call was not answered in time";
    list.shift()?.reject(new MailError({ code: "UNAVAILABLE", why }));
  }
  return new Promise((resolve, reject) => {
    list.push({ resolve, reject });
  });
}

function sealAnswer(
  effect: Extract<CallEffect, { kind: "sealed" | "sealRefused" }>,
  state: Readonly<ReplicaState>,
): SealAnswer {
  if (effect.kind === "sealed") return sealAnswerOf(state);
  if (effect.why === "heard") return { kind: "heard" };
  const { config } = state;
  if (effect.why === "unusable" || config === undefined) return { kind: "unusable" };
  return { kind: "newer", config };
}
