// What clients of a run with the real store know for certain, and what a mailbox may show because of
// it: I1, I2, I4 and I5 as a client sees them.

import type { Principal } from "../../../src/mail/mail-store.ts";
import { InvariantViolation } from "../world/violation.ts";

interface Known {
  readonly token: string;
  /** Somebody has asked for its removal, with whatever outcome. */
  removing: boolean;
  removed: boolean;
  /** Set for certain. */
  readonly keywords: Set<string>;
}

/** What a read that starts now must show. */
export interface Expected {
  readonly present: ReadonlyMap<number, { readonly token: string; readonly keywords: string[] }>;
  readonly gone: ReadonlySet<number>;
  readonly uidNext: number;
  readonly modSeq: number;
}

/** What a read has shown. */
export interface Shown {
  readonly uidValidity: number;
  readonly uidNext: number;
  readonly modSeq: number;
  /** As the mailbox was opened. */
  readonly uids: readonly number[];
  /** As fetched afterwards; what was removed meanwhile is missing. */
  readonly messages: ReadonlyMap<number, { readonly token: string; readonly text: string }>;
}

export class MailboxLedger {
  readonly name: string;
  /** Each UID names one body for ever. */
  readonly #bodies = new Map<number, string>();
  readonly #known = new Map<number, Known>();
  /** Bits were flipped: a body may be lost, when a copy was made anew at the same time. */
  readonly #mayLose: boolean;
  #uidValidity: number | undefined;
  #uidNext = 0;
  #modSeq = 0;

  constructor(name: string, mayLose: boolean) {
    this.name = name;
    this.#mayLose = mayLose;
  }

  /** A message that is there, by an acknowledgement. */
  added(uid: number, token: string, uidValidity: number): void {
    this.#body(uid, token, uidValidity);
    if (!this.#known.has(uid)) {
      this.#known.set(uid, { token, removing: false, removed: false, keywords: new Set() });
    }
    this.#uidNext = Math.max(this.#uidNext, uid + 1);
  }

  removing(uid: number): void {
    const known = this.#known.get(uid);
    if (known !== undefined) known.removing = true;
  }

  removed(uid: number): void {
    const known = this.#known.get(uid);
    if (known !== undefined) known.removed = true;
  }

  flagged(uid: number, keyword: string): void {
    this.#known.get(uid)?.keywords.add(keyword);
  }

  /** UIDs that nobody has tried to remove. */
  get stable(): readonly { readonly uid: number; readonly token: string }[] {
    return [...this.#known].flatMap(([uid, { token, removing }]) =>
      removing ? [] : [{ uid, token }],
    );
  }

  expected(): Expected {
    const present = new Map<number, { readonly token: string; readonly keywords: string[] }>();
    const gone = new Set<number>();
    for (const [uid, { token, removing, removed, keywords }] of this.#known) {
      if (!removing) present.set(uid, { token, keywords: [...keywords] });
      if (removed) gone.add(uid);
    }
    return { present, gone, uidNext: this.#uidNext, modSeq: this.#modSeq };
  }

  /** @param most how often a message may be here */
  check(expected: Expected, shown: Shown, most: (token: string) => number): void {
    const { uids, messages, uidNext, modSeq, uidValidity } = shown;
    if (uidNext < expected.uidNext || modSeq < expected.modSeq) {
      fail("I4", `${this.name}: UIDNEXT ${uidNext} or HIGHESTMODSEQ ${modSeq} went back`);
    }
    if (uids.some((uid, at) => uid <= (uids[at - 1] ?? 0) || uid >= uidNext)) {
      fail("I4", `${this.name}: UIDs ${uids.join()} don't ascend below ${uidNext}`);
    }
    const listed = new Set(uids);
    for (const [uid, { token, keywords }] of expected.present) {
      const message = messages.get(uid);
      // Somebody may remove it while it is read.
      const stays = this.#known.get(uid)?.removing === false;
      if (stays && !listed.has(uid)) fail("I2", `${this.name} does not show ${token} at ${uid}`);
      if (stays && message === undefined) {
        fail("I2", `${this.name} does not fetch ${token} at UID ${uid}`);
      }
      for (const keyword of message === undefined ? [] : keywords) {
        if (message?.text.includes(keyword) !== true) {
          fail("I2", `${this.name} does not show ${keyword} of ${token} at UID ${uid}`);
        }
      }
    }
    for (const uid of expected.gone) {
      if (listed.has(uid)) fail("I2", `${this.name} shows UID ${uid}, which was removed`);
    }
    const counts = new Map<string, number>();
    for (const [uid, { token }] of messages) {
      // A notice stands in for a body of which both copies were damaged.
      if (token === "" && this.#mayLose) continue;
      this.#body(uid, token, uidValidity);
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    for (const [token, count] of counts) {
      if (count > most(token)) fail("I5", `${this.name} has ${token} ${count} times`);
    }
    this.#uidNext = Math.max(this.#uidNext, uidNext);
    this.#modSeq = Math.max(this.#modSeq, modSeq);
  }

  #body(uid: number, token: string, uidValidity: number): void {
    this.#uidValidity ??= uidValidity;
    if (this.#uidValidity !== uidValidity) {
      fail("I4", `${this.name}: UIDVALIDITY ${this.#uidValidity} became ${uidValidity}`);
    }
    const known = this.#bodies.get(uid);
    if (known !== undefined && known !== token) {
      fail("I4", `${this.name}: UID ${uid} names ${known} and ${token}`);
    }
    this.#bodies.set(uid, token);
  }
}

export class AccountLedger {
  readonly who: Principal;
  readonly inbox: MailboxLedger;
  readonly archive: MailboxLedger;
  /** How often each message was asked to be copied or moved. */
  readonly #copies = new Map<string, number>();

  constructor(who: Principal, mayLose: boolean) {
    this.who = who;
    this.inbox = new MailboxLedger(`INBOX of ${who.account}`, mayLose);
    this.archive = new MailboxLedger(`Archive of ${who.account}`, mayLose);
  }

  copying(token: string): void {
    this.#copies.set(token, this.copies(token) + 1);
  }

  copies(token: string): number {
    return this.#copies.get(token) ?? 0;
  }
}

function fail(invariant: string, what: string): never {
  throw new InvariantViolation(invariant, what);
}
