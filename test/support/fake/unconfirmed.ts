// Deliveries of the fake whose clients are not known to have had their 2xx: the same again is
// answered with the first, as long as that message is there.

import type { OpId } from "../../../src/mail/ids.ts";
import type { DeliverOutcome, DeliverRecipient } from "../../../src/mail/mail-store.ts";
import type { FakeAccount } from "./account.ts";

type Stored = Extract<DeliverOutcome, { ok: true }>;

export class FakeUnconfirmed {
  readonly #byFingerprint = new Map<string, Stored>();
  readonly #byOp = new Map<OpId, string[]>();
  readonly #early = new Set<OpId>();

  /** The outcome of the unconfirmed delivery that this one repeats. */
  repeated(
    account: FakeAccount | undefined,
    { fingerprint }: DeliverRecipient,
    opId: OpId,
  ): DeliverOutcome | undefined {
    const known = fingerprint === undefined ? undefined : this.#byFingerprint.get(fingerprint);
    const mailbox = known === undefined ? undefined : account?.mailboxes.get(known.mailbox);
    if (known === undefined || mailbox?.uidValidity !== known.uidValidity) return undefined;
    if (!mailbox.messages.some(({ uid }) => uid === known.uid)) return undefined;
    this.#note(opId, fingerprint ?? "");
    return known;
  }

  delivered({ fingerprint }: DeliverRecipient, opId: OpId, outcome: DeliverOutcome): void {
    if (fingerprint === undefined || !outcome.ok || this.#early.has(opId)) return;
    this.#byFingerprint.set(fingerprint, outcome);
    this.#note(opId, fingerprint);
  }

  confirm(deliveries: readonly OpId[]): void {
    for (const opId of deliveries) {
      if (!this.#byOp.has(opId)) this.#early.add(opId);
      for (const fingerprint of this.#byOp.get(opId) ?? []) this.#byFingerprint.delete(fingerprint);
    }
  }

  #note(opId: OpId, fingerprint: string): void {
    this.#byOp.set(opId, [...(this.#byOp.get(opId) ?? []), fingerprint]);
  }
}
