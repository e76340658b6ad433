// One client's model of its selected mailbox: what stands at each sequence number, what is known of it,
// and which responses may change that. Judges each response; sends nothing.

import { flagText, type MailboxTruth } from "./truth.ts";

/** A command under way, and what was known when it began. */
export interface Doing {
  /** In capitals, with `UID `; `none` between commands. */
  readonly kind: string;
  readonly start: number;
  /** States that it told first, by UID: a STORE's own answer comes before news. */
  readonly firstTold: Map<number, string>;
  /** UIDs of which anything was told. */
  readonly told: Set<number>;
  /** Of SEARCH: numbers as they came. */
  found: readonly number[] | undefined;
  /** Bracketed codes by name. */
  readonly codes: Map<string, string>;
  /** Of STATUS. */
  readonly counters: Map<string, number>;
}

export interface Slot {
  /** 0 until a response has named it. */
  uid: number;
  flags: string | undefined;
  /** 0 when it is not known. */
  modSeq: number;
  /** Beginning of the command in which it appeared. */
  readonly from: number;
}

/** RFC 9051 §7.5.1: commands in whose answer no EXPUNGE may come. */
const numbersStay: ReadonlySet<string> = new Set(
  "none FETCH STORE SEARCH SELECT EXAMINE".split(" "),
);

export class MailboxView {
  readonly truth: MailboxTruth;
  readonly readOnly: boolean;
  readonly slots: Slot[] = [];
  uidNext = 0;
  /** Of SELECT. */
  highestModSeq = 0;
  /** What a session may come back with: RFC 7162 §3.2.5. Grows by HIGHESTMODSEQ of tagged OKs alone. */
  keptModSeq = 0;
  /** UIDs that must come with a higher MODSEQ: STORE … UNCHANGEDSINCE was refused for them. */
  readonly modified = new Map<number, number>();
  readonly #vanishing: boolean;
  readonly #violate: (what: string) => void;

  /** @param vanishing QRESYNC is enabled. */
  constructor(
    truth: MailboxTruth,
    readOnly: boolean,
    vanishing: boolean,
    violate: (what: string) => void,
  ) {
    this.truth = truth;
    this.readOnly = readOnly;
    this.#vanishing = vanishing;
    this.#violate = violate;
  }

  get count(): number {
    return this.slots.length;
  }

  get isResolved(): boolean {
    return this.slots.every(({ uid }) => uid > 0);
  }

  get uids(): readonly number[] {
    return this.slots.map(({ uid }) => uid);
  }

  slotOf(uid: number): Slot | undefined {
    return this.slots.find((slot) => slot.uid === uid);
  }

  exists(count: number, doing: Doing): void {
    if (count < this.slots.length)
      this.#violate(`EXISTS went from ${this.slots.length} to ${count} without EXPUNGE`);
    while (this.slots.length < count)
      this.slots.push({ uid: 0, flags: undefined, modSeq: 0, from: doing.start });
  }

  expunge(sequence: number, doing: Doing): void {
    if (this.#vanishing) this.#violate("EXPUNGE where QRESYNC is enabled");
    if (numbersStay.has(doing.kind)) this.#violate(`EXPUNGE in answer to ${doing.kind}`);
    const [slot] = this.slots.splice(sequence - 1, 1);
    if (slot === undefined) this.#violate(`EXPUNGE of ${sequence}, which is not there`);
    else if (slot.uid > 0) this.truth.gone(slot.uid);
  }

  vanished(uids: readonly number[], doing: Doing): void {
    if (!this.#vanishing) this.#violate("VANISHED where QRESYNC is not enabled");
    if (numbersStay.has(doing.kind)) this.#violate(`VANISHED in answer to ${doing.kind}`);
    for (const uid of uids) {
      const at = this.#indexFor(uid);
      if (at === undefined) this.#violate(`VANISHED ${uid}, which is not there`);
      else this.slots.splice(at, 1);
      this.truth.gone(uid);
    }
  }

  /** @param modSeq 0 when it was not told. @param uid 0 when it was not told. */
  fetched(
    sequence: number,
    told: { readonly uid: number; readonly flags: string | undefined; readonly modSeq: number },
    doing: Doing,
  ): void {
    const slot = this.slots[sequence - 1];
    if (slot === undefined) {
      this.#violate(`FETCH of ${sequence} where ${this.slots.length} exist`);
      return;
    }
    if (told.uid > 0) this.#name(slot, sequence, told.uid);
    const { uid } = slot;
    if (uid === 0) {
      slot.flags = told.flags ?? slot.flags;
      slot.modSeq = Math.max(slot.modSeq, told.modSeq);
      return;
    }
    doing.told.add(uid);
    if (told.modSeq > 0) {
      if (told.modSeq < slot.modSeq)
        this.#violate(`MODSEQ of UID ${uid} went from ${slot.modSeq} to ${told.modSeq}`);
      const beyond = this.modified.get(uid);
      if (beyond !== undefined && told.modSeq <= beyond)
        this.#violate(`UID ${uid} was MODIFIED since ${beyond}, but has MODSEQ ${told.modSeq}`);
      this.modified.delete(uid);
      slot.modSeq = told.modSeq;
    }
    if (told.flags === undefined) return;
    if (!doing.firstTold.has(uid)) doing.firstTold.set(uid, told.flags);
    slot.flags = told.flags;
    this.truth.learnState(uid, told.flags, told.modSeq, doing.start);
  }

  /** Every UID of an answer belongs to the view, ascending and once. */
  found(uids: readonly number[], what: string): void {
    const known = new Set(this.uids);
    let last = 0;
    for (const uid of uids) {
      if (uid <= last) this.#violate(`${what} names ${uid} behind ${last}`);
      last = uid;
      if (!known.has(uid) && this.#indexFor(uid) === undefined)
        this.#violate(`${what} names UID ${uid}, which is not there`);
    }
  }

  /**
   * What the view lacks of what was known at `start`; empty when it shows everything.
   * @param withStates MODSEQs are told to this session.
   */
  lag(start: number, withStates: boolean): string | undefined {
    const shown = new Set(this.uids);
    for (const message of this.truth.messages.values()) {
      const { uid, bornAt, goneAt, explained } = message;
      if (goneAt < start && shown.has(uid)) return `UID ${uid} is shown, but was expunged`;
      const stays = goneAt === Infinity && !message.deletable && !message.moving;
      if (explained && stays && bornAt < start && !shown.has(uid)) return `UID ${uid} is not shown`;
    }
    if (!withStates) return undefined;
    for (const { uid, modSeq } of this.slots) {
      const floor = this.truth.floor(this.truth.message(uid), start);
      if (modSeq > 0 && modSeq < floor) return `UID ${uid} has ${modSeq}, but ${floor} is known`;
    }
    return undefined;
  }

  #name(slot: Slot, sequence: number, uid: number): void {
    if (slot.uid === uid) return;
    if (slot.uid > 0) {
      this.#violate(`message ${sequence} was UID ${slot.uid} and is UID ${uid}`);
      return;
    }
    const before = this.slots.slice(0, sequence - 1).findLast((each) => each.uid > 0);
    const behind = this.slots.slice(sequence).find((each) => each.uid > 0);
    if (uid <= (before?.uid ?? 0) || uid >= (behind?.uid ?? Infinity))
      this.#violate(`UID ${uid} between ${before?.uid ?? 0} and ${behind?.uid ?? "the end"}`);
    slot.uid = uid;
    const message = this.truth.seen(uid);
    if (message.goneAt < slot.from) this.#violate(`UID ${uid} is there again after its EXPUNGE`);
    if (slot.flags !== undefined) this.truth.learnState(uid, slot.flags, slot.modSeq, slot.from);
  }

  /** Of a UID, or of a slot without one where it would stand. */
  #indexFor(uid: number): number | undefined {
    const known = this.slots.findIndex((slot) => slot.uid === uid);
    if (known >= 0) return known;
    const behind = this.slots.findIndex((slot) => slot.uid > uid);
    const before = (behind < 0 ? this.slots.length : behind) - 1;
    return this.slots[before]?.uid === 0 ? before : undefined;
  }
}

/** What a FETCH response tells. */
export function parseFetch(text: string): {
  readonly uid: number;
  readonly flags: string | undefined;
  readonly modSeq: number;
} {
  const flags = /\bFLAGS \(([^)]*)\)/.exec(text)?.[1];
  return {
    uid: Number(/\bUID (\d+)/.exec(text)?.[1] ?? 0),
    flags: flags === undefined ? undefined : flagText(flags.split(" ").filter((f) => f !== "")),
    modSeq: Number(/\bMODSEQ \((\d+)\)/.exec(text)?.[1] ?? 0),
  };
}

/** `1:3,7` as numbers, in the order written. */
export function numbersOf(set: string): readonly number[] {
  return set.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split(":").map(Number);
    return Array.from({ length: last - first + 1 }, (_, n) => first + n);
  });
}

/** Ascending numbers as a set. */
export function setOf(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let at = 0; at < numbers.length; ) {
    const low = numbers[at] ?? 0;
    let high = low;
    while (numbers[++at] === high + 1) high++;
    parts.push(low === high ? `${low}` : `${low}:${high}`);
  }
  return parts.join(",");
}
