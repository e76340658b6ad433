// The full-text index of the mail on this node: what it says about a search, and when it is built. It is
// derived, node-local, never replicated and never in the log; what it does not know is read through.
// docs/decisions/0006-search-index.md has the reasons.

import { background } from "../../lib/background.ts";
import { readU53 } from "../../lib/bytes.ts";
import type { Clock } from "../../lib/clock.ts";
import { RwLock } from "../../lib/lock.ts";
import type { Random } from "../../lib/random.ts";
import { accountId, mailboxId } from "../../mail/ids.ts";
import type { AccountId, MailboxId } from "../../mail/ids.ts";
import type { SearchKey } from "../../mail/search-key.ts";
import type { Columns } from "../columns.ts";
import type { Engine } from "../engine.ts";
import type { SearchHints } from "../search-hints.ts";
import { readCounters } from "../entry-codec.ts";
import type { Counters } from "../entry-kind.ts";
import { accountKey, afterPrefix, mailboxKey, shardTable, space, table } from "../keyspace.ts";
import { openRow, rowIsSound } from "../row.ts";
import { IndexBuilder, tailBytes, tailMessages } from "./index-builder.ts";
import type { MailboxPlace } from "./index-keys.ts";
import { IndexRows } from "./index-rows.ts";
import type { Disposable } from "./index-rows.ts";
import { threadWorker } from "./index-worker.ts";
import type { IndexWorker } from "./index-worker.ts";
import { narrow } from "./narrow.ts";
import type { Narrowing } from "./narrow.ts";

export interface SearchIndexOptions {
  readonly database: Disposable;
  /** A thread of its own by default. */
  readonly worker?: IndexWorker;
}

export interface SearchIndexParts extends SearchIndexOptions {
  readonly engine: Engine;
  readonly random: Random;
  /** False while nothing may be built: the disk is filling up, or a copy of a shard is being made. */
  readonly mayBuild: () => boolean;
}

export interface SearchIndexFigures {
  /** Mailboxes that wait to be indexed. */
  readonly waiting: number;
  /** Since the start. */
  readonly messages: number;
  readonly bytes: number;
  readonly merges: number;
  /** Parts of the index that were dropped because they were damaged. */
  readonly damages: number;
}

/** Unindexed mail of a mailbox, as far as it is known. */
interface Tail {
  messages: number;
  bytes: number;
  /** From so many messages on it is worth the work: looking at a large mailbox costs more. */
  readonly least: number;
}

/** Mailboxes with a known tail; the rest is found by the next sweep. */
const tailsMax = 100_000;
const firstSweepMs = 1000;
const sweepEveryMs = 12 * 3_600_000;
const sweepAgainMs = 600_000;
const idleMs = 250;
/** Deliveries are counted over this time. */
const measureMs = 1000;
const restMsMax = 5000;
/** Of a large mailbox so much may be unindexed: one of so many messages. */
const tailPart = 512;
/** The index takes half of a thread, a tenth while so much mail comes in a second. */
const busyPerSecond = 100;

export class SearchIndex implements SearchHints {
  readonly #parts: SearchIndexParts;
  readonly #clock: Clock;
  readonly #rows: IndexRows;
  readonly #worker: IndexWorker;
  readonly #builder: IndexBuilder;
  readonly #stopping = new AbortController();
  /** One builder at a time. */
  readonly #lock = new RwLock();
  readonly #tails = new Map<AccountId, Map<MailboxId, Tail>>();
  #tailCount = 0;
  readonly #due = new Map<string, MailboxPlace>();
  #running: Promise<void> | undefined;
  #added = 0;
  #nextSweepMs: number;
  #endPause: (() => void) | undefined;

  private constructor(parts: SearchIndexParts, rows: IndexRows) {
    const { engine, random } = parts;
    this.#parts = parts;
    this.#clock = engine.clock;
    this.#rows = rows;
    this.#worker = parts.worker ?? threadWorker();
    this.#builder = new IndexBuilder({ engine, rows, worker: this.#worker, random });
    this.#nextSweepMs = this.#clock.monotonicMs() + firstSweepMs;
  }

  /** Opens what there is; never fails: without an index everything is read through. */
  static async open(parts: SearchIndexParts): Promise<SearchIndex> {
    return new SearchIndex(parts, await IndexRows.open(parts.database, parts.engine.clock));
  }

  get figures(): SearchIndexFigures {
    const { messages, bytes, merges } = this.#builder;
    return { waiting: this.#due.size, messages, bytes, merges, damages: this.#rows.damages };
  }

  /** Builds in the background from now on. */
  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#endPause?.();
    await this.#worker.stop();
    await this.#running;
    await this.#rows.close();
  }

  /** Mail came into a mailbox. On the path of deliveries: remembers, and nothing else. */
  added(account: AccountId, mailbox: MailboxId, messages: number, bytes: number): void {
    this.#added += messages;
    const tails = this.#tails.get(account);
    const tail = tails?.get(mailbox);
    if (tail !== undefined) {
      tail.messages += messages;
      tail.bytes += bytes;
      if (tail.messages >= tail.least || tail.bytes >= tailBytes) this.#put({ account, mailbox });
    } else if (messages >= tailMessages || bytes >= tailBytes) {
      this.#put({ account, mailbox });
    } else this.#remember({ account, mailbox }, { messages, bytes, least: tailMessages });
  }

  #remember({ account, mailbox }: MailboxPlace, tail: Tail): void {
    if (this.#tailCount >= tailsMax) {
      // Too many to remember: a sweep finds it.
      this.#nextSweepMs = Math.min(this.#nextSweepMs, this.#clock.monotonicMs() + sweepAgainMs);
      return;
    }
    this.#tailCount++;
    const tails = this.#tails.get(account);
    if (tails === undefined) this.#tails.set(account, new Map([[mailbox, tail]]));
    else tails.set(mailbox, tail);
  }

  /** A mailbox was deleted. */
  gone(account: AccountId, mailbox: MailboxId): void {
    this.#put({ account, mailbox });
  }

  /**
   * What the index knows of a search whose texts are normalised; undefined: nothing.
   * @param uids all messages in question, ascending, as `columns` has them now.
   */
  async narrow(
    place: MailboxPlace,
    columns: Columns,
    uids: Uint32Array,
    key: SearchKey,
  ): Promise<Narrowing | undefined> {
    return this.#rows.ready ? narrow(this.#rows, place, columns, uids, key) : undefined;
  }

  /** Indexes everything there is, now and without rest: for tests and tools. */
  async buildNow(): Promise<void> {
    await using _ = await this.#lock.write(this.#stopping.signal);
    const noRest = (): Promise<void> => Promise.resolve();
    await this.#sweep(noRest);
    for (const place of this.#takeAll()) await this.#builder.update(place, true, noRest);
  }

  #takeAll(): MailboxPlace[] {
    const places = [...this.#due.values()];
    for (const [account, tails] of this.#tails) {
      for (const mailbox of tails.keys()) places.push({ account, mailbox });
    }
    this.#due.clear();
    this.#tails.clear();
    this.#tailCount = 0;
    return places;
  }

  #put(place: MailboxPlace): void {
    const { account, mailbox } = place;
    if (this.#tails.get(account)?.delete(mailbox) === true) this.#tailCount--;
    if (this.#tails.get(account)?.size === 0) this.#tails.delete(account);
    this.#due.set(`${account}/${mailbox}`, place);
  }

  async #run(): Promise<void> {
    const rest = this.#rest();
    while (!this.#stopping.signal.aborted) {
      try {
        const mayBuild = this.#parts.mayBuild() && this.#rows.ready;
        if (!mayBuild || !(await this.#step(rest))) await this.#pause(idleMs);
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        const failure =
          error instanceof Error ? error : new Error("search index", { cause: error });
        background("search index", Promise.reject(failure));
        await this.#pause(restMsMax);
      }
    }
  }

  /** Does one thing; false when there is nothing to do. */
  async #step(rest: () => Promise<void>): Promise<boolean> {
    await using _ = await this.#lock.write(this.#stopping.signal);
    if (this.#clock.monotonicMs() >= this.#nextSweepMs) {
      await this.#sweep(rest);
      this.#nextSweepMs = this.#clock.monotonicMs() + sweepEveryMs;
      return true;
    }
    const [name, place] = this.#due.entries().next().value ?? [];
    if (name === undefined || place === undefined) return false;
    this.#due.delete(name);
    const { left, messages } = await this.#builder.update(place, false, rest);
    const least = Math.floor(messages / tailPart);
    if (least > tailMessages && this.#tails.get(place.account)?.has(place.mailbox) !== true) {
      this.#remember(place, { messages: left, bytes: 0, least });
    }
    return true;
  }

  /** Looks for mailboxes with unindexed mail, and for parts of the index whose mailbox is gone. */
  async #sweep(rest: () => Promise<void>): Promise<void> {
    const { rows } = this.#parts.engine;
    const prefix = Buffer.of(space.shard);
    for await (const found of rows.range(prefix, afterPrefix(prefix), sweepRows)) {
      for (const [key] of found) {
        if (key[3] === shardTable.account) await this.#sweepAccount(accountId(readU53(key, 4)));
        await rest();
      }
    }
    for await (const place of this.#rows.places()) {
      const key = mailboxKey(place.account, table.mailbox, place.mailbox);
      if ((await rows.get(key)) === undefined) await this.#rows.clear(place);
      await rest();
    }
  }

  async #sweepAccount(account: AccountId): Promise<void> {
    const from = accountKey(account, table.counters);
    const end = accountKey(account, table.counters + 1);
    for await (const found of this.#parts.engine.rows.range(from, end, sweepRows)) {
      for (const [key, value] of found) {
        if (!rowIsSound(key, value)) continue;
        const mailbox = mailboxId(key.readUInt32BE(10));
        await this.#consider({ account, mailbox }, readCounters(openRow(key, value)));
      }
    }
  }

  async #consider(place: MailboxPlace, counters: Counters): Promise<void> {
    const { messages, uidNext, sizeBytes } = counters;
    const blocks = (await this.#rows.directories(place)) ?? [];
    let indexed = 0;
    let last = 0;
    for (const { uids } of blocks) {
      indexed += uids.length;
      last = Math.max(last, uids.at(-1) ?? 0);
    }
    const tail = Math.max(Math.min(messages, uidNext - 1 - last), messages - indexed);
    const bytes = messages === 0 ? 0 : (sizeBytes / messages) * tail;
    if (indexed > 2 * messages + tailMessages) this.#put(place);
    else if (tail > 0) this.added(place.account, place.mailbox, tail, bytes);
  }

  /** Waits after work, so that it takes a part of the time only. */
  #rest(): () => Promise<void> {
    let worked = this.#clock.monotonicMs();
    let added = this.#added;
    let measured = worked;
    return async () => {
      const now = this.#clock.monotonicMs();
      if (now - worked < leastWorkMs) return;
      const perSecond = ((this.#added - added) * 1000) / Math.max(1, now - measured);
      if (now - measured > measureMs) {
        added = this.#added;
        measured = now;
      }
      const part = perSecond > busyPerSecond ? 9 : 1;
      await this.#pause(Math.min(restMsMax, (now - worked) * part));
      this.#stopping.signal.throwIfAborted();
      while (!this.#parts.mayBuild()) {
        await this.#pause(idleMs);
        this.#stopping.signal.throwIfAborted();
      }
      worked = this.#clock.monotonicMs();
    };
  }

  /** Ends early when the store closes. */
  async #pause(ms: number): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(ms, resolve);
      this.#endPause = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#endPause = undefined;
  }
}

const sweepRows = 200;
const leastWorkMs = 5;
