// Deliveries of the fake whose clients are not known to have had their 2xx: the same again is
// answered with the first, as long as that message is there. Once confirmed, they answer only what
// had begun before they were stored.

import type { OpId } from "../../../src/mail/ids.ts";
import type { DeliverOutcome, DeliverRecipient } from "../../../src/mail/mail-store.ts";
import type { FakeAccount } from "./account.ts";

type Stored = Extract<DeliverOutcome, { ok: true }>;

export class FakeUnconfirmed {
  readonly #byFingerprint = new Map<string, Stored>();
  readonly #byOp = new Map<OpId, string[]>();
  readonly #early = new Set<OpId>();
  readonly #settled = new Map<string, Stored>();
  readonly #storedMs = new Map<Stored, number>();

  /** The outcome of the delivery that this one repeats, or is repeated by. */
  repeated(
    account: FakeAccount | undefined,
    { fingerprint }: DeliverRecipient,
    opId: OpId,
    begunMs: number,
  ): DeliverOutcome | undefined {
    const known =
      this.#byFingerprint.get(fingerprint ?? "") ?? this.#settledAfter(fingerprint, begunMs);
    const mailbox = known === undefined ? undefined : account?.mailboxes.get(known.mailbox);
    if (known === undefined || mailbox?.uidValidity !== known.uidValidity) return undefined;
    if (!mailbox.messages.some(({ uid }) => uid === known.uid)) return undefined;
    this.#note(opId, fingerprint ?? "");
    return known;
  }

  #settledAfter(fingerprint: string | undefined, begunMs: number): Stored | undefined {
    const settled = this.#settled.get(fingerprint ?? "");
    return settled !== undefined && (this.#storedMs.get(settled) ?? 0) > begunMs
      ? settled
      : undefined;
  }

  delivered(
    { fingerprint }: DeliverRecipient,
    opId: OpId,
    outcome: DeliverOutcome,
    nowMs: number,
  ): void {
    if (fingerprint === undefined || !outcome.ok) return;
    if (!this.#storedMs.has(outcome)) this.#storedMs.set(outcome, nowMs);
    this.#byFingerprint.set(fingerprint, outcome);
    this.#note(opId, fingerprint);
    if (this.#early.delete(opId)) this.confirm([opId]);
  }

  confirm(deliveries: readonly OpId[]): void {
    for (const opId of deliveries) {
      if (!this.#byOp.has(opId)) this.#early.add(opId);
      for (const fingerprint of this.#byOp.get(opId) ?? []) {
        const stored = this.#byFingerprint.get(fingerprint);
        if (stored !== undefined) this.#settled.set(fingerprint, stored);
        this.#byFingerprint.delete(fingerprint);
      }
    }
  }

  #note(opId: OpId, fingerprint: string): void {
    this.#byOp.set(opId, [...(this.#byOp.get(opId) ?? []), fingerprint]);
  }
}
