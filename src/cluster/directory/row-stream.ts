// A node's end of the directory streams: sends each gateway the rows and claims of the shards that
// this node serves, marks that say "you have everything", and tells when a change is known everywhere.
// A mark is a lease of `no such name`: it counts from the gateway's own question, so this node knows
// an upper bound of it. Leaves the wire form to stream-wire.ts.

import { lsn } from "../../mail/ids.ts";
import type { Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import type { Clock } from "../../lib/clock.ts";
import { ChangeRing } from "./change-ring.ts";
import { claimRow } from "./claims.ts";
import type { DirectoryChange, DirectoryStore } from "./directory-store.ts";
import type { Seen, StreamItem, StreamRequest } from "./stream-wire.ts";
import type { Position } from "./wire.ts";

export interface RowStreamOptions {
  readonly store: DirectoryStore;
  readonly clock: Clock;
  /** For how long after its question a gateway may believe a mark; longer here, for slow clocks. */
  readonly freshnessMs: number;
  /** Changes kept per shard for gateways that come back. */
  readonly ringMax?: number;
  readonly sessionsMax?: number;
}

interface Session {
  readonly gateway: MemberId;
  readonly number: number;
  /** What was sent, by shard. */
  readonly sent: Map<ShardId, Lsn>;
  /** What the gateway says it has applied. */
  readonly applied: Map<ShardId, Lsn>;
  readonly dirty: Set<ShardId>;
  /** The gateway's newest question and when it came. */
  question: { readonly echo: number; readonly atMs: number } | undefined;
  /** When the newest question that a mark has answered came: it may believe until then + freshness. */
  grantedMs: number;
  markedMs: number;
  markDue: boolean;
  open: boolean;
  wake: (() => void) | undefined;
}

interface Waiter {
  readonly shard: ShardId;
  readonly lsn: Lsn;
  readonly deadlineMs: number;
  readonly done: () => void;
}

/** In place of an lsn that nobody remembers. */
export const everythingSoFar = lsn(Number.MAX_SAFE_INTEGER);

/** About a kilobyte each, in each shard of which a node has a copy. */
const ringMost = 2000;
const pieceRows = 200;
const pieceBytes = 128 * 1024;
const markEveryMs = 200;
/** Clocks of two members differ by no more than this over a second. */
const drift = 1.1;

export class RowStream {
  readonly #store: DirectoryStore;
  readonly #clock: Clock;
  readonly #windowMs: number;
  readonly #ringMax: number;
  readonly #sessionsMax: number;
  readonly #rings = new Map<ShardId, ChangeRing>();
  readonly #sessions = new Map<string, Session>();
  readonly #serving = new Map<ShardId, { readonly epoch: Epoch; readonly sinceMs: number }>();
  #waiters: Waiter[] = [];
  #closed = false;

  constructor(options: RowStreamOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#windowMs = options.freshnessMs * drift;
    this.#ringMax = options.ringMax ?? ringMost;
    this.#sessionsMax = options.sessionsMax ?? 200;
    for (const shard of this.#store.shards()) this.#ring(shard);
    this.#store.onChange((change) => this.#pushed(change));
    this.#store.onRestart?.((shard) => this.#rings.delete(shard));
  }

  /** Gateways connected now; a gauge. */
  get sessions(): number {
    return [...this.#sessions.values()].filter(({ open }) => open).length;
  }

  /** Everything for one gateway, until `signal` aborts. */
  async *rows(
    gateway: MemberId,
    request: StreamRequest,
    signal: AbortSignal,
  ): AsyncGenerator<StreamItem> {
    const session = this.#open(gateway, request);
    const stop = (): void => session.wake?.();
    signal.addEventListener("abort", stop);
    try {
      while (!signal.aborted && !this.#closed && session.open) {
        for (const shard of session.dirty) {
          session.dirty.delete(shard);
          yield* this.#catchUp(session, shard);
        }
        const mark = session.dirty.size === 0 && session.markDue ? this.#mark(session) : undefined;
        if (mark !== undefined) yield mark;
        else if (session.dirty.size === 0) await this.#idle(session, signal);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      session.open = false;
    }
  }

  /** What a gateway says of itself; runs often. */
  seen(gateway: MemberId, seen: Seen): void {
    const session = this.#sessions.get(`${gateway} ${seen.session}`);
    if (session === undefined) return;
    const nowMs = this.#clock.monotonicMs();
    session.question = { echo: seen.nowMs, atMs: nowMs };
    for (const other of this.#sessions.values()) {
      if (other.gateway === gateway) raise(other.applied, seen.applied); // Its earlier streams too.
    }
    if (nowMs - session.markedMs >= markEveryMs) {
      session.markDue = true;
      session.wake?.();
    }
    this.#settle();
  }

  /**
   * Resolves once every gateway has applied the shard's changes up to `at`, or can no longer
   * believe what it had before; at the latest after one freshness window. `everythingSoFar`: waits
   * for that window, after which every change of any shard that was committed before is known.
   */
  async settled(shard: ShardId, at: Lsn, signal: AbortSignal): Promise<void> {
    this.#observe(shard);
    const deadlineMs = this.#clock.monotonicMs() + this.#windowMs;
    if (!this.#blocked(shard, at)) return;
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(signal.reason as Error);
      };
      const waiter: Waiter = {
        shard,
        lsn: at,
        deadlineMs,
        done: () => {
          signal.removeEventListener("abort", abort);
          resolve();
        },
      };
      if (signal.aborted) abort();
      else {
        signal.addEventListener("abort", abort);
        this.#waiters.push(waiter);
      }
    });
  }

  /** To be called every 250 ms or so: marks, expiries, shards that began to be served. */
  tick(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const shard of this.#store.shards()) {
      this.#ring(shard);
      this.#observe(shard);
    }
    for (const [key, session] of this.#sessions) {
      if (!session.open && nowMs - session.grantedMs > this.#windowMs) this.#sessions.delete(key);
      else if (session.question !== undefined && session.question.atMs > session.grantedMs) {
        session.markDue = true;
        session.wake?.();
      }
    }
    this.#settle();
  }

  close(): void {
    this.#closed = true;
    for (const session of this.#sessions.values()) session.wake?.();
    for (const waiter of this.#waiters.splice(0)) waiter.done();
  }

  #open(gateway: MemberId, request: StreamRequest): Session {
    for (const [key, other] of this.#sessions) {
      // One stream a gateway; and what it was granted counts on until it expires.
      if (other.gateway === gateway) {
        other.open = false;
        other.wake?.();
      }
      if (this.#sessions.size >= this.#sessionsMax && !other.open) this.#sessions.delete(key);
    }
    const session: Session = {
      gateway,
      number: request.session,
      sent: new Map(request.from.map((position) => [position.shard, position.lsn])),
      applied: new Map(request.from.map((position) => [position.shard, position.lsn])),
      dirty: new Set(this.#store.shards()),
      question: undefined,
      grantedMs: Number.NEGATIVE_INFINITY,
      markedMs: Number.NEGATIVE_INFINITY,
      markDue: false,
      open: true,
      wake: undefined,
    };
    this.#sessions.set(`${gateway} ${request.session}`, session);
    return session;
  }

  async #idle(session: Session, signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#closed || !session.open) return;
    await new Promise<void>((resolve) => {
      session.wake = resolve;
    });
    session.wake = undefined;
  }

  async *#catchUp(session: Session, shard: ShardId): AsyncGenerator<StreamItem> {
    for (;;) {
      const epoch = this.#store.serving(shard);
      if (epoch === undefined || !session.open) return; // `#observe` makes it dirty again.
      const sent = session.sent.get(shard);
      const known = sent !== undefined && sent <= this.#store.appliedLsn(shard);
      const changes = known ? this.#ring(shard).after(sent, pieceRows) : undefined;
      if (changes === undefined) {
        yield* this.#snapshot(session, shard, epoch);
        continue;
      }
      const piece = changes.slice(0, countWithin(changes, changeBytes));
      const last = piece.at(-1);
      if (last === undefined) return;
      session.sent.set(shard, last.lsn);
      yield {
        kind: "rows",
        at: { shard, epoch, lsn: last.lsn },
        rows: piece.flatMap(({ rows }) => rows),
        claims: piece.flatMap(({ claims }) => claims.map(claimRow)),
      };
    }
  }

  async *#snapshot(session: Session, shard: ShardId, epoch: Epoch): AsyncGenerator<StreamItem> {
    // What is applied while we read is newer than `at` and follows from the ring.
    const at: Position = { shard, epoch, lsn: this.#store.appliedLsn(shard) };
    let account = 0;
    while (account < Number.MAX_SAFE_INTEGER) {
      const rows = await this.#store.rowsAfter(shard, account, pieceRows);
      // Rows may be large: what does not fit is read again for the next piece.
      const fit = rows.slice(0, countWithin(rows, rowBytes));
      const more = rows.length === pieceRows || fit.length < rows.length;
      account = (more ? fit.at(-1)?.account : undefined) ?? Number.MAX_SAFE_INTEGER;
      yield { kind: "accounts", at, rows: fit, through: account };
    }
    let name: string | undefined = "";
    while (name !== undefined) {
      const claims = await this.#store.claimsAfter(shard, name, pieceRows);
      name = claims.length < pieceRows ? undefined : claims.at(-1)?.name;
      yield { kind: "claims", at, claims: claims.map(claimRow), through: name };
    }
    session.sent.set(shard, at.lsn);
  }

  /** The shards whose every change up to now was sent; undefined without a question to answer. */
  #mark(session: Session): StreamItem | undefined {
    session.markDue = false;
    const { question } = session;
    if (question === undefined) return undefined;
    const shards: Position[] = [];
    for (const shard of session.sent.keys()) {
      const epoch = this.#store.serving(shard);
      if (epoch === undefined || session.dirty.has(shard)) continue;
      const sent = session.sent.get(shard) ?? lsn(0);
      // Not served for a while, and served again: what was missed meanwhile comes first.
      if (this.#ring(shard).after(sent, 1)?.length !== 0) {
        session.dirty.add(shard);
        session.markDue = true;
        continue;
      }
      const at = lsn(Math.max(this.#store.appliedLsn(shard), sent));
      session.sent.set(shard, at);
      shards.push({ shard, epoch, lsn: at });
    }
    session.grantedMs = question.atMs;
    session.markedMs = this.#clock.monotonicMs();
    return { kind: "mark", echo: question.echo, shards };
  }

  #pushed(change: DirectoryChange): void {
    // Without the sagas in them, which are a registration each and nothing to gateways.
    const claims = change.claims.map(({ task: _saga, ...claim }) => claim);
    this.#ring(change.shard).push({ ...change, claims });
    for (const session of this.#sessions.values()) {
      if (!session.open) continue;
      session.dirty.add(change.shard);
      session.wake?.();
    }
  }

  #ring(shard: ShardId): ChangeRing {
    const known = this.#rings.get(shard);
    if (known !== undefined) return known;
    const ring = new ChangeRing(this.#store.appliedLsn(shard), this.#ringMax);
    this.#rings.set(shard, ring);
    return ring;
  }

  /** Notes since when the shard is served in its present epoch. */
  #observe(shard: ShardId): void {
    const epoch = this.#store.serving(shard);
    const known = this.#serving.get(shard);
    if (known?.epoch === epoch) return;
    if (epoch === undefined) {
      this.#serving.delete(shard);
      return;
    }
    this.#serving.set(shard, { epoch, sinceMs: this.#clock.monotonicMs() });
    for (const session of this.#sessions.values()) {
      if (session.open) session.dirty.add(shard);
      session.wake?.();
    }
  }

  /** True while some gateway may still say what was right before `at`. */
  #blocked(shard: ShardId, at: Lsn): boolean {
    if (at === everythingSoFar) return true;
    const nowMs = this.#clock.monotonicMs();
    // A former primary of the shard may have given marks until just before we began.
    const sinceMs = this.#serving.get(shard)?.sinceMs ?? nowMs;
    if (sinceMs + this.#windowMs > nowMs) return true;
    for (const session of this.#sessions.values()) {
      const believes = session.grantedMs + this.#windowMs > nowMs;
      if (believes && (session.applied.get(shard) ?? 0) < at) return true;
    }
    return false;
  }

  #settle(): void {
    if (this.#waiters.length === 0) return;
    const nowMs = this.#clock.monotonicMs();
    this.#waiters = this.#waiters.filter((waiter) => {
      const waits = waiter.deadlineMs > nowMs && this.#blocked(waiter.shard, waiter.lsn);
      if (!waits) waiter.done();
      return waits;
    });
  }
}

function raise(applied: Map<ShardId, Lsn>, positions: readonly Position[]): void {
  for (const position of positions) {
    if (position.lsn > (applied.get(position.shard) ?? 0)) {
      applied.set(position.shard, position.lsn);
    }
  }
}

/** How many items from the front fit a frame with ease; at least one if there is any. */
function countWithin<T>(items: readonly T[], bytesOf: (item: T) => number): number {
  let bytes = 0;
  const end = items.findIndex((item, index) => {
    bytes += bytesOf(item);
    return bytes > pieceBytes && index > 0;
  });
  return end < 0 ? items.length : end;
}

function changeBytes({ rows, claims }: DirectoryChange): number {
  let bytes = 20 * claims.length;
  for (const row of rows) bytes += rowBytes(row);
  for (const { name } of claims) bytes += name.length;
  return bytes;
}

/** About; a character may take three bytes. */
function rowBytes(row: DirectoryRow): number {
  let bytes = 100 + 3 * row.name.length + row.credentials.hash.length;
  bytes += 80 * (row.memberships?.length ?? 0) + 1000 * (row.group?.posters.length ?? 0);
  for (const alias of row.aliases) bytes += 3 * alias.length;
  return bytes;
}
