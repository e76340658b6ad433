// What is known for certain of one mailbox, learnt from all clients' answers together: which message a UID
// names, its states by MODSEQ, what was acknowledged. Time is a counter: an answer is judged by what was
// known before its command began. Knows no IMAP syntax.

export const flagsInUse = ["\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Todo"] as const;
const deleted = "\\Deleted";

/** Counts moments; shared by all mailboxes of a run. */
export class Ticks {
  #now = 0;
  next(): number {
    return ++this.#now;
  }
}

export interface State {
  readonly modSeq: number;
  /** Ascending, without \Recent, joined by spaces. */
  readonly flags: string;
  /** When it was first heard of. */
  readonly at: number;
}

/** Changes of a flag in one direction: under way or without an outcome, and when the last one ended. */
interface FlagChanges {
  underWay: number;
  endedAt: number;
}

export interface Message {
  readonly uid: number;
  id: string | undefined;
  /** Ascending MODSEQ. */
  readonly states: State[];
  /** From here on every new view shows it; Infinity until somebody has seen it or was told of it. */
  bornAt: number;
  /** An APPENDUID or COPYUID named it. */
  explained: boolean;
  goneAt: number;
  /** It may have had \Deleted once, so an EXPUNGE may have taken it. */
  deletable: boolean;
  /** A MOVE that named it began. */
  moving: boolean;
  /** COPYUID of a MOVE named it. */
  moved: boolean;
  /** Its disappearance was judged. */
  judged: boolean;
  /** A command passed over it, as over a message that is gone: it must not be there again. */
  passedOver: string | undefined;
  /** It had \Deleted at this MODSEQ when an EXPUNGE was answered OK: alive only under a higher one. */
  expungedAt: number;
  readonly changes: Map<string, FlagChanges>;
  /** Flags that nobody has touched since they were acknowledged. */
  readonly sure: Map<string, { readonly present: boolean; readonly since: number }>;
}

export type FlagMode = "add" | "remove" | "replace";

export function flagText(flags: readonly string[]): string {
  return flags
    .filter((flag) => flag !== "\\Recent")
    .toSorted()
    .join(" ");
}

export function hasFlag(text: string, flag: string): boolean {
  return text.split(" ").includes(flag);
}

/** Flags of a message after a STORE. */
export function changedFlags(text: string, mode: FlagMode, flags: readonly string[]): string {
  const before = text === "" ? [] : text.split(" ");
  if (mode === "replace") return flagText(flags);
  const rest = before.filter((flag) => !flags.includes(flag));
  return flagText(mode === "add" ? [...rest, ...flags] : rest);
}

/** Which flags a STORE gives, and which it takes. */
export function effects(
  mode: FlagMode,
  flags: readonly string[],
): { readonly gives: readonly string[]; readonly takes: readonly string[] } {
  if (mode === "add") return { gives: flags, takes: [] };
  if (mode === "remove") return { gives: [], takes: flags };
  return { gives: flags, takes: flagsInUse.filter((flag) => !flags.includes(flag)) };
}

export class MailboxTruth {
  readonly user: string;
  readonly name: string;
  readonly messages = new Map<number, Message>();
  uidValidity = 0;
  /** The highest that anybody was told. */
  uidNext = 1;
  modSeq = 0;
  /** Copies that a command without an outcome may have made, by id. */
  readonly possible = new Map<string, number>();
  /** Messages whose MOVE has no outcome, and where they may be now. */
  readonly perhapsMoved: { readonly uid: number; readonly target: MailboxTruth }[] = [];
  readonly #ticks: Ticks;
  readonly #violate: (what: string) => void;

  constructor(user: string, name: string, ticks: Ticks, violate: (what: string) => void) {
    this.user = user;
    this.name = name;
    this.#ticks = ticks;
    this.#violate = violate;
  }

  message(uid: number): Message {
    let message = this.messages.get(uid);
    if (message === undefined) {
      message = {
        uid,
        id: undefined,
        states: [],
        bornAt: Infinity,
        explained: false,
        goneAt: Infinity,
        deletable: false,
        moving: false,
        moved: false,
        judged: false,
        passedOver: undefined,
        expungedAt: 0,
        changes: new Map(),
        sure: new Map(),
      };
      this.messages.set(uid, message);
    }
    return message;
  }

  /** RFC 9051 §2.3.1.1: one for ever. */
  learnUidValidity(value: number): void {
    if (this.uidValidity === 0) this.uidValidity = value;
    if (this.uidValidity !== value)
      this.#wrong(`UIDVALIDITY went from ${this.uidValidity} to ${value}`);
  }

  /** A view shows the UID. */
  seen(uid: number): Message {
    const message = this.message(uid);
    if (message.bornAt === Infinity) message.bornAt = this.#ticks.next();
    this.uidNext = Math.max(this.uidNext, uid + 1);
    return message;
  }

  /** An APPENDUID or COPYUID named a new message. @param uidNext What was known when it began. */
  born(uid: number, id: string | undefined, uidNext: number): Message {
    const message = this.seen(uid);
    if (uid < uidNext) this.#wrong(`new UID ${uid} where UIDNEXT was ${uidNext}`);
    if (message.explained) this.#wrong(`UID ${uid} was given twice`);
    message.explained = true;
    if (id !== undefined) this.learnId(uid, id);
    return message;
  }

  /** A UID names one message for ever. */
  learnId(uid: number, id: string): void {
    const message = this.message(uid);
    if (message.id !== undefined && message.id !== id)
      this.#wrong(`UID ${uid} named ${message.id}, then ${id}`);
    message.id = id;
  }

  gone(uid: number): Message {
    const message = this.seen(uid);
    if (message.goneAt === Infinity) message.goneAt = this.#ticks.next();
    return message;
  }

  /** The MODSEQ that a command begun at `start` must show at least. */
  floor({ states }: Message, start: number): number {
    for (let at = states.length - 1; at >= 0; at--) {
      const state = states[at];
      if (state !== undefined && state.at < start) return state.modSeq;
    }
    return 0;
  }

  /**
   * A FETCH response told a state of a message; its command began at `start`.
   * @param modSeq 0 when it was not told.
   */
  learnState(uid: number, flags: string, modSeq: number, start: number): void {
    const message = this.seen(uid);
    for (const [flag, { present, since }] of message.sure) {
      if (since < start && hasFlag(flags, flag) !== present)
        this.#wrong(`UID ${uid} has (${flags}), but ${flag} was ${present ? "set" : "cleared"}`);
    }
    if (modSeq === 0) return;
    this.modSeq = Math.max(this.modSeq, modSeq);
    const floor = this.floor(message, start);
    if (modSeq < floor) this.#wrong(`MODSEQ of UID ${uid} went from ${floor} to ${modSeq}`);
    const { states } = message;
    let at = states.length;
    while (at > 0 && (states[at - 1]?.modSeq ?? 0) > modSeq) at--;
    const same = states[at - 1];
    if (same?.modSeq !== modSeq) states.splice(at, 0, { modSeq, flags, at: this.#ticks.next() });
    else if (same.flags !== flags)
      this.#wrong(`UID ${uid} at MODSEQ ${modSeq} has (${flags}) here, (${same.flags}) there`);
  }

  /** A change of flags begins; ends with `settle`. @returns its beginning. */
  changing(uid: number, gives: readonly string[], takes: readonly string[]): number {
    const message = this.message(uid);
    if (gives.includes(deleted)) message.deletable = true;
    for (const flag of gives) this.#changesOf(message, `+${flag}`).underWay++;
    for (const flag of takes) this.#changesOf(message, `-${flag}`).underWay++;
    for (const [flag, { present }] of message.sure) {
      if ((present ? takes : gives).includes(flag)) message.sure.delete(flag);
    }
    return this.#ticks.next();
  }

  /** A change of flags has ended with a certain outcome. */
  settle(uid: number, gives: readonly string[], takes: readonly string[]): void {
    const message = this.message(uid);
    const now = this.#ticks.next();
    const names = [...gives.map((flag) => `+${flag}`), ...takes.map((flag) => `-${flag}`)];
    for (const name of names) {
      const changes = this.#changesOf(message, name);
      changes.underWay--;
      changes.endedAt = now;
    }
  }

  /** A change of flags was acknowledged: what nobody has worked against since `began` is certain. */
  acknowledged(
    uid: number,
    gives: readonly string[],
    takes: readonly string[],
    began: number,
  ): void {
    const message = this.message(uid);
    const since = this.#ticks.next();
    for (const flag of gives) this.#makeSure(message, flag, true, began, since);
    for (const flag of takes) this.#makeSure(message, flag, false, began, since);
  }

  /** A command without an outcome may have put a copy here. */
  mayHave(id: string | undefined): void {
    if (id !== undefined) this.possible.set(id, (this.possible.get(id) ?? 0) + 1);
  }

  #makeSure(message: Message, flag: string, present: boolean, began: number, since: number): void {
    if (this.undisputed(message, flag, present, began)) message.sure.set(flag, { present, since });
  }

  /** Nobody has changed the flag to the contrary since `began`, or does so now. */
  undisputed(message: Message, flag: string, present: boolean, began: number): boolean {
    const against = this.#changesOf(message, `${present ? "-" : "+"}${flag}`);
    return against.underWay === 0 && against.endedAt < began;
  }

  /** @param name The flag behind `+` or `-`. */
  #changesOf({ changes }: Message, name: string): FlagChanges {
    let found = changes.get(name);
    if (found === undefined) {
      found = { underWay: 0, endedAt: 0 };
      changes.set(name, found);
    }
    return found;
  }

  #wrong(what: string): void {
    this.#violate(`${this.user}/${this.name}: ${what}`);
  }
}
