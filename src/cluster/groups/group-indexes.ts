// The indexes of the groups that this gateway's members look at: one watch a group, whoever many
// sessions there are (paper H19). An index is handed out without asking only while the watch hears of
// everything and the directory is fresh; else the group's primary is asked first.

import { background } from "../../lib/background.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import { groupModSeqMax } from "../../mail/group.ts";
import type { AccountId, ShardId } from "../../mail/ids.ts";
import type { MailStore } from "../../mail/mail-store.ts";
import { pause } from "../directory/calls.ts";
import { loadIndex, principalOf, renewIndex } from "./group-index.ts";
import type { GroupIndex } from "./group-index.ts";
import { Pacer } from "./pacer.ts";

/** What of the gateway's directory groups need. */
export interface GroupDirectory {
  rowNow(account: AccountId): DirectoryRow | undefined;
  /** True while this gateway knows all that was acknowledged in the shard a second ago. */
  isFresh(shard: ShardId): boolean;
  /** Runs with rows that have just changed. */
  onRows(listener: (rows: readonly DirectoryRow[]) => void): void;
}

export interface GroupIndexesOptions {
  readonly store: MailStore;
  readonly directory: GroupDirectory;
  readonly clock: Clock;
  readonly random: Random;
  /** Sessions told of a change in a group, a second. */
  readonly notifyPerSecond: number;
}

/** Hears that a group's mailbox is not what it was, or that the group is no more. */
export interface GroupListener {
  readonly changed: () => void;
  readonly gone: () => void;
}

interface Entry {
  row: DirectoryRow;
  index: GroupIndex | undefined;
  /** The watch hears of what happens; what happened before was asked for. */
  live: boolean;
  /** Raised by each event, so that an answer that was on its way is not taken for the newest. */
  events: number;
  /** `events` as they were when the index was asked for. */
  seen: number;
  refreshing: Promise<GroupIndex> | undefined;
  /** The index is being asked for because of events. */
  catchingUp: boolean;
  readonly stop: AbortController;
  readonly listeners: Set<GroupListener>;
}

const groupsMax = 2000;
const retryMs = 500;
/** How long an index is asked for in the background. */
const refreshMs = 30_000;

export class GroupIndexes {
  readonly #options: GroupIndexesOptions;
  readonly #pacer: Pacer;
  readonly #entries = new Map<AccountId, Entry>();
  #closed = false;

  constructor(options: GroupIndexesOptions) {
    this.#options = options;
    const { clock, random, notifyPerSecond: perSecond } = options;
    this.#pacer = new Pacer({ clock, random, perSecond });
    options.directory.onRows((rows) => {
      for (const row of rows) if (row.group !== undefined) this.#rowChanged(row);
    });
  }

  /** Gauges: groups followed, sessions that wait to be told. */
  get figures(): { readonly groups: number; readonly waiting: number } {
    return { groups: this.#entries.size, waiting: this.#pacer.waiting };
  }

  /**
   * The group's index: not older than what was recalled and acknowledged, nor than `atLeast`.
   * @throws MailError UNAVAILABLE while the group's primary can't be asked and has to be
   */
  async current(row: DirectoryRow, atLeast: number, signal: AbortSignal): Promise<GroupIndex> {
    const entry = this.#entry(row);
    const least = Math.max(atLeast, row.group?.floorModSeq ?? 0);
    const { index } = entry;
    const sure = entry.live && entry.seen === entry.events;
    if (index !== undefined && sure && index.modSeq >= least) {
      if (this.#options.directory.isFresh(row.shard)) return index;
    }
    const asked = await this.#ask(entry, signal);
    if (asked.modSeq >= least) return asked;
    throw new MailError({ code: "UNAVAILABLE", why: "the group's mailbox is behind" });
  }

  /** The MODSEQ of the newest index here, 0 when there is none. */
  modSeqOf(group: AccountId): number {
    return this.#entries.get(group)?.index?.modSeq ?? 0;
  }

  /** Tells `listener` until the returned function is called. */
  listen(row: DirectoryRow, listener: GroupListener): () => void {
    const entry = this.#entry(row);
    entry.listeners.add(listener);
    return () => {
      entry.listeners.delete(listener);
      this.#pacer.forget(listener.changed);
    };
  }

  close(): void {
    this.#closed = true;
    this.#pacer.close();
    for (const { stop } of this.#entries.values()) stop.abort();
    this.#entries.clear();
  }

  #entry(row: DirectoryRow): Entry {
    const known = this.#entries.get(row.account);
    if (known !== undefined) {
      this.#entries.delete(row.account);
      this.#entries.set(row.account, known);
      return known;
    }
    if (this.#closed) throw new MailError({ code: "UNAVAILABLE", why: "the gateway is closing" });
    const entry: Entry = {
      row,
      index: undefined,
      live: false,
      events: 0,
      seen: -1,
      refreshing: undefined,
      catchingUp: false,
      stop: new AbortController(),
      listeners: new Set(),
    };
    this.#entries.set(row.account, entry);
    this.#evict();
    background("group watch", this.#follow(entry));
    return entry;
  }

  /** Groups that nobody listens to, longest unused first. */
  #evict(): void {
    let surplus = this.#entries.size - groupsMax;
    for (const [group, entry] of this.#entries) {
      if (surplus <= 0) return;
      if (entry.listeners.size > 0) continue;
      entry.stop.abort();
      this.#entries.delete(group);
      surplus--;
    }
  }

  /** Asks the primary; those who ask at the same time share the answer to a question asked later. */
  async #ask(entry: Entry, signal: AbortSignal): Promise<GroupIndex> {
    const before = entry.refreshing;
    // An answer under way may be older than this question.
    if (before !== undefined) await orAborted(before.then(ignore, ignore), signal);
    entry.refreshing ??= this.#refresh(entry).finally(() => {
      entry.refreshing = undefined;
    });
    return orAborted(entry.refreshing, signal);
  }

  async #refresh(entry: Entry): Promise<GroupIndex> {
    const { store } = this.#options;
    const signal = AbortSignal.any([entry.stop.signal, AbortSignal.timeout(refreshMs)]);
    const { events, index: old } = entry;
    const index =
      old === undefined
        ? await loadIndex(store, principalOf(entry.row), "INBOX", signal)
        : await renewIndex(store, entry.row, old, signal).catch((error: unknown) => {
            if (!isMailError(error, "MAILBOX_GONE")) throw error;
            return loadIndex(store, principalOf(entry.row), "INBOX", signal);
          });
    if (index.modSeq > groupModSeqMax) {
      throw new MailError({ code: "LIMIT", limit: "changes of a group", most: groupModSeqMax });
    }
    const changed = index !== old;
    entry.index = index;
    entry.seen = events;
    if (changed) this.#pacer.tell(Array.from(entry.listeners, ({ changed: tell }) => tell));
    return index;
  }

  /**
   * Asks until nothing has happened since the question. Sessions that are idle hear of news only from
   * here, so what fails is asked again; once the watch is broken, that begins anew with it.
   */
  async #catchUp(entry: Entry): Promise<void> {
    const { signal } = entry.stop;
    entry.catchingUp = true;
    try {
      while (entry.live && entry.seen !== entry.events && !signal.aborted) {
        if (!(await this.#asked(entry))) await pause(this.#options.clock, retryMs, signal);
      }
    } finally {
      entry.catchingUp = false;
    }
  }

  /** True when there was an answer. */
  async #asked(entry: Entry): Promise<boolean> {
    try {
      await this.#ask(entry, entry.stop.signal);
      return true;
    } catch (error) {
      if (!isMailError(error)) throw error;
      return false;
    }
  }

  async #follow(entry: Entry): Promise<void> {
    const { store, clock } = this.#options;
    const { signal } = entry.stop;
    const moved = (live: boolean): void => {
      entry.live = live;
      entry.events++;
    };
    const news = (): void => {
      moved(true);
      if (!entry.catchingUp) background("group index", this.#catchUp(entry));
    };
    while (!signal.aborted) {
      try {
        const request = {
          mailboxes: "all",
          listening: news,
          interrupted: () => moved(false),
        } as const;
        for await (const event of store.watch(principalOf(entry.row), request, signal)) {
          if (event.kind === "revoked") break;
          news();
        }
      } catch (error) {
        if (!isMailError(error)) throw error;
      }
      moved(false);
      if (signal.aborted) return;
      await pause(clock, retryMs, signal);
    }
  }

  #rowChanged(row: DirectoryRow): void {
    const entry = this.#entries.get(row.account);
    if (entry === undefined) return;
    if (row.state === "deleted") {
      entry.stop.abort();
      this.#entries.delete(row.account);
      for (const { gone } of entry.listeners) gone();
      return;
    }
    entry.row = row;
  }
}

function ignore(): void {
  // Whoever asked is told.
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new MailError({ code: "UNAVAILABLE", why: "cancelled" }));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise.finally(() => signal.removeEventListener("abort", abort)).then(resolve, reject);
  });
}
