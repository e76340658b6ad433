// One random client: opens session after session, chooses what to do next, and compares its whole model
// with the truth when everybody is quiet. How each command is judged stands in the files of the commands.

import type { MailboxTruth } from "./truth.ts";
import { type Abilities, type Outcome, StressSession } from "./session.ts";
import { mailboxNames, type World } from "./world.ts";
import type { MailboxView } from "./view.ts";

/** A mailbox as it was left: what QRESYNC comes back with. */
export interface Kept {
  readonly uidValidity: number;
  readonly modSeq: number;
  readonly flags: ReadonlyMap<number, string | undefined>;
}

export interface Listed {
  readonly flags: string;
  readonly modSeq: number;
  readonly id: string;
}

/** News that NOOP must bring may be so late: a node has died, and its shards move. */
const newsWithinMs = 30_000;

export class StressClient {
  readonly world: World;
  readonly name: string;
  readonly user: string;
  readonly random: () => number;
  readonly kept = new Map<string, Kept>();
  readonly #ports: readonly number[];
  #session: StressSession | undefined;
  #appended = 0;

  constructor(
    world: World,
    name: string,
    user: string,
    ports: readonly number[],
    random: () => number,
  ) {
    this.world = world;
    this.name = name;
    this.user = user;
    this.random = random;
    this.#ports = ports;
  }

  get session(): StressSession | undefined {
    return this.#session;
  }

  /** Id for a new message. */
  newId(): string {
    return `${this.world.seed}-${this.name}-${++this.#appended}`;
  }

  chance(share: number): boolean {
    return this.random() < share;
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  oneOf<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error("nothing to choose from");
    return value;
  }

  truth(name: string): MailboxTruth {
    return this.world.mailbox(this.user, name);
  }

  anyMailbox(): string {
    return this.oneOf(mailboxNames);
  }

  /** The session, a new one at a random gateway when there is none. @throws when it can't be had. */
  async connected(): Promise<StressSession> {
    if (this.#session !== undefined && !this.#session.isClosed && !this.#session.broken)
      return this.#session;
    this.#session?.close();
    this.#session = undefined;
    const dice = this.below(3);
    const can: Abilities = { condstore: dice > 0, qresync: dice > 1, rev2: this.chance(0.25) };
    const { world, user } = this;
    const name = `${this.name}.${++world.sessions}`;
    this.#session = await StressSession.open(world, name, this.oneOf(this.#ports), user, can);
    return this.#session;
  }

  /** Leaves the selected mailbox, and keeps what QRESYNC needs. */
  keep(): void {
    const session = this.#session;
    const view = session?.view;
    if (session === undefined || view === undefined || session.broken) return;
    if (session.can.qresync && view.isResolved && view.keptModSeq > 0) {
      this.kept.set(view.truth.name, {
        uidValidity: view.truth.uidValidity,
        modSeq: view.keptModSeq,
        flags: new Map(view.slots.map(({ uid, flags }) => [uid, flags])),
      });
    }
    session.view = undefined;
  }

  drop(): void {
    this.keep();
    this.#session?.close();
    this.#session = undefined;
  }

  /** Learns the UIDs of all sequence numbers. @returns whether that could be done. */
  async resolve(session: StressSession, view: MailboxView): Promise<boolean> {
    for (let tries = 0; tries < 6 && !session.broken; tries++) {
      const first = view.slots.findIndex(({ uid }) => uid === 0);
      if (first < 0) return true;
      const last = view.slots.findLastIndex(({ uid }) => uid === 0);
      const items = session.can.condstore ? "UID FLAGS MODSEQ" : "UID FLAGS";
      const id = this.chance(0.7) ? " BODY.PEEK[HEADER.FIELDS (X-STRESS)]" : "";
      await session.run("FETCH", `FETCH ${first + 1}:${last + 1} (${items}${id})`);
      // What was not answered is gone, which NOOP tells.
      if (!view.isResolved) await session.run("NOOP", "NOOP");
    }
    return view.isResolved;
  }

  /** NOOP, again until the view shows all that was known when it began. */
  async news(session: StressSession, view: MailboxView): Promise<Outcome> {
    const began = performance.now();
    const noop = await session.run("NOOP", "NOOP");
    for (let turn = 0; !session.broken; turn++) {
      if (!(await this.resolve(session, view))) return noop;
      const lag = view.lag(noop.doing.start, session.can.condstore);
      const lateMs = performance.now() - began;
      if (turn === 1) this.world.late++;
      if (turn > 0) this.world.latestMs = Math.max(this.world.latestMs, lateMs);
      if (lag === undefined) return noop;
      if (lateMs > newsWithinMs) session.violate(`NOOP does not tell: ${lag}`);
      await this.world.pause(50 * turn);
      await session.run("NOOP", "NOOP");
    }
    return noop;
  }

  /** Everybody is quiet: behind a NOOP the view is the mailbox. */
  async compare(listings: ReadonlyMap<MailboxTruth, ReadonlyMap<number, Listed>>): Promise<void> {
    const session = this.#session;
    const view = session?.view;
    if (session === undefined || view === undefined || session.isClosed || session.broken) return;
    const listing = listings.get(view.truth);
    if (listing === undefined) return;
    const began = performance.now();
    for (let turn = 0; !session.broken && !session.isClosed; turn++) {
      await this.news(session, view).catch(() => undefined);
      const difference = differenceOf(view, listing, session.can.condstore);
      if (difference === undefined || session.broken) return;
      if (performance.now() - began > newsWithinMs) session.violate(`all quiet: ${difference}`);
      if (turn === 3) session.note(`# ${difference}`);
      await this.world.pause(50 * turn);
    }
  }
}

function differenceOf(
  view: MailboxView,
  listing: ReadonlyMap<number, Listed>,
  withStates: boolean,
): string | undefined {
  const shown = view.uids.join(" ");
  const there = [...listing.keys()].join(" ");
  if (shown !== there) return `the view has ${shown}, the mailbox ${there}`;
  for (const { uid, flags, modSeq } of view.slots) {
    const listed = listing.get(uid);
    if (listed === undefined) continue;
    if (flags !== undefined && flags !== listed.flags)
      return `UID ${uid} has (${flags}) for the session, but (${listed.flags})`;
    if (withStates && modSeq > 0 && modSeq !== listed.modSeq)
      return `UID ${uid} has MODSEQ ${modSeq} for the session, but ${listed.modSeq}`;
  }
  return undefined;
}
