// The gateway's directory: follows the streams of all mail nodes, answers look-ups without the
// network, and says `none` only where it may. Leaves rows to replica.ts, bytes to directory-db.ts.

import type { Clock, Timer } from "../../lib/clock.ts";
import type { DirectoryRow, NameLookup } from "../../mail/account.ts";
import { shardId } from "../../mail/ids.ts";
import type { AccountId, Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { Links } from "../link/rpc.ts";
import { pause } from "./calls.ts";
import { claimShard } from "./claims.ts";
import { DirectoryDamaged, DirectoryDb } from "./directory-db.ts";
import type { DirectoryFiles } from "./directory-files.ts";
import type { Directory } from "./directory.ts";
import type { DirectoryLog } from "./log.ts";
import { DirectoryReplica } from "./replica.ts";
import type { Sweeps } from "./replica.ts";
import { decodeItem, encodeRequest, encodeSeen } from "./stream-wire.ts";
import type { StreamItem } from "./stream-wire.ts";
import { method } from "./wire.ts";
import type { Position } from "./wire.ts";

export interface GatewayDirectoryOptions {
  /** May be deleted while the gateway is down: it fills again. */
  readonly files: DirectoryFiles;
  readonly clusterId: string;
  readonly shardCount: number;
  readonly links: Links;
  readonly clock: Clock;
  readonly log: DirectoryLog;
  /** Age of a shard's newest mark up to which `none` may be said. */
  readonly freshnessMs: number;
  /** Rows in RAM. */
  readonly cacheMax: number;
}

interface ShardView {
  epoch: Epoch;
  lsn: Lsn;
  /** Our clock when we asked what the newest mark answered. */
  freshMs: number;
  /** Everything up to `lsn` is here. */
  complete: boolean;
}

interface Follower {
  readonly node: MemberId;
  readonly stop: AbortController;
  session: number;
  sweeps: Sweeps;
  /** Shards whose position the node hasn't been told. */
  readonly news: Set<ShardId>;
  done: Promise<void>;
}

const seenEveryMs = 250;
const saveEveryMs = 10_000;

export class GatewayDirectory implements Directory {
  readonly #options: GatewayDirectoryOptions;
  readonly #shards = new Map<ShardId, ShardView>();
  readonly #followers = new Map<MemberId, Follower>();
  readonly #listeners = new Set<(rows: readonly DirectoryRow[]) => void>();
  #db: DirectoryDb | undefined;
  #replica: DirectoryReplica | undefined;
  /** Items are applied one after the other, whichever node they come from. */
  #applying: Promise<void> = Promise.resolve();
  #sessions = 0;
  #timer: Timer | undefined;
  #savedMs = 0;
  #closed = false;

  private constructor(options: GatewayDirectoryOptions) {
    this.#options = options;
  }

  /** Opens the folder; follows nobody before `follow`. */
  static async open(options: GatewayDirectoryOptions): Promise<GatewayDirectory> {
    const directory = new GatewayDirectory(options);
    await directory.#load();
    directory.#beat();
    return directory;
  }

  /** The mail nodes there are now: streams of others end, of new ones begin. */
  follow(nodes: readonly MemberId[]): void {
    if (this.#closed) return;
    for (const [node, follower] of this.#followers) {
      if (nodes.includes(node)) continue;
      follower.stop.abort();
      this.#followers.delete(node);
    }
    for (const node of nodes) {
      if (!this.#followers.has(node)) this.#followers.set(node, this.#start(node));
    }
  }

  /** The row that is here now. */
  rowNow(account: AccountId): DirectoryRow | undefined {
    return this.#reading((replica) => replica.row(account), undefined);
  }

  /** Runs with rows that have just changed here. */
  onRows(listener: (rows: readonly DirectoryRow[]) => void): void {
    this.#listeners.add(listener);
  }

  /** Groups by account id. */
  async groups(): Promise<readonly DirectoryRow[]> {
    return (await this.#replica?.groups()) ?? [];
  }

  async memberCount(group: AccountId): Promise<number> {
    return (await this.#db?.memberCount(group)) ?? 0;
  }

  /** Accounts that are no groups. */
  async userCount(): Promise<number> {
    return (await this.#db?.userCount()) ?? 0;
  }

  /** Explicit members of a group from `after` (exclusive), at most `most`, by account id. */
  async members(group: AccountId, after: number, most: number): Promise<readonly DirectoryRow[]> {
    return (await this.#replica?.members(group, after, most)) ?? [];
  }

  byAccount(account: AccountId): Promise<DirectoryRow | undefined> {
    return Promise.resolve(this.#reading((replica) => replica.row(account), undefined));
  }

  /** A catch-all is asked only when the name itself is surely nobody's. */
  lookupNow(name: string): NameLookup {
    const own = this.#find(name);
    if (own.kind !== "none" || name.startsWith("@")) return own;
    return this.#find(name.slice(name.lastIndexOf("@")));
  }

  /** True while this gateway knows everything that was acknowledged in the shard a second ago. */
  isFresh(shard: ShardId): boolean {
    const view = this.#shards.get(shard);
    const nowMs = this.#options.clock.monotonicMs();
    return view !== undefined && nowMs - view.freshMs < this.#options.freshnessMs;
  }

  /** Shards of which not everything was here yet, ever: /readyz names them; ready when empty. */
  missing(): readonly ShardId[] {
    const missing: ShardId[] = [];
    for (let shard = 0; shard < this.#options.shardCount; shard++) {
      if (this.#shards.get(shardId(shard))?.complete !== true) missing.push(shardId(shard));
    }
    return missing;
  }

  /** Shards whose names can't be denied now. */
  stale(): readonly ShardId[] {
    const all = Array.from({ length: this.#options.shardCount }, (_, shard) => shardId(shard));
    return all.filter((shard) => !this.isFresh(shard));
  }

  /** Look-ups of rows answered from RAM and from disk, for metrics. */
  get cacheFigures(): { readonly hits: number; readonly misses: number } {
    return { hits: this.#replica?.hits ?? 0, misses: this.#replica?.misses ?? 0 };
  }

  /** How many accounts these shards have. */
  async accountsIn(shards: readonly ShardId[]): Promise<number> {
    let sum = 0;
    for (const shard of shards) sum += (await this.#replica?.countOf(shard)) ?? 0;
    return sum;
  }

  /** Rows by name from `after` (exclusive); deleted accounts are left out. */
  async list(after: string, most: number): Promise<readonly DirectoryRow[]> {
    const replica = this.#replica;
    if (replica === undefined) return [];
    try {
      return await replica.list(after, most);
    } catch (error) {
      this.#damaged(error);
      return [];
    }
  }

  /** Takes a row that its primary has just told us, so that the next look-up knows it. */
  async learn(row: DirectoryRow): Promise<void> {
    await this.#queue(async () => {
      const view = this.#shards.get(row.shard);
      if (view === undefined) return; // Without a position there is nothing to keep in step with.
      const at = { shard: row.shard, epoch: view.epoch, lsn: view.lsn };
      await this.#replica?.apply({ kind: "rows", at, rows: [row], claims: [] }, new Map());
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    for (const follower of this.#followers.values()) follower.stop.abort();
    await Promise.all([...this.#followers.values()].map(({ done }) => done));
    await this.#queue(async () => {
      await this.#replica?.savePositions(this.#positions());
      await this.#db?.close();
    });
  }

  #find(name: string): NameLookup {
    const found = this.#reading<ReturnType<DirectoryReplica["find"]>>(
      (replica) => replica.find(name),
      { kind: "odd" },
    );
    if (found.kind === "row") return { kind: "found", row: found.row };
    if (found.kind === "odd") return { kind: "unsure" };
    const sure = this.isFresh(claimShard(name, this.#options.shardCount));
    return { kind: sure ? "none" : "unsure" };
  }

  #reading<T>(read: (replica: DirectoryReplica) => T, otherwise: T): T {
    if (this.#replica === undefined) return otherwise;
    try {
      return read(this.#replica);
    } catch (error) {
      this.#damaged(error);
      return otherwise;
    }
  }

  async #load(): Promise<void> {
    const { files, clusterId, shardCount, cacheMax } = this.#options;
    const db = await DirectoryDb.open(files, { clusterId, shardCount });
    this.#db = db;
    this.#replica = new DirectoryReplica(db, shardCount, cacheMax, (rows) => {
      for (const listener of this.#listeners) listener(rows);
    });
    this.#shards.clear();
    const positions = db.suspect ? [] : await db.positions();
    for (const { shard, epoch, lsn } of positions) {
      const freshMs = Number.NEGATIVE_INFINITY;
      this.#shards.set(shard, { epoch, lsn, freshMs, complete: true });
    }
  }

  /** Throws the folder away and fills it again from the nodes; names are unsure meanwhile. */
  #damaged(error: unknown): void {
    if (this.#replica === undefined || this.#closed) return;
    this.#options.log.error({ err: error }, "directory is damaged and is made anew");
    this.#replica = undefined;
    this.#shards.clear();
    const db = this.#db;
    const nodes = [...this.#followers.keys()];
    this.follow([]);
    this.#queue(async () => {
      await db?.close().catch(() => undefined); // It is going to be deleted.
      await this.#options.files.remove();
      if (!this.#closed) await this.#load();
    }).then(
      () => this.follow(nodes),
      (cause: unknown) =>
        this.#options.log.error({ err: cause }, "directory could not be made anew"),
    );
  }

  #queue(work: () => Promise<void>): Promise<void> {
    const mine = this.#applying.then(work);
    this.#applying = mine.catch(() => undefined); // Told to the one who queued it.
    return mine;
  }

  #start(node: MemberId): Follower {
    const stop = new AbortController();
    const follower: Follower = {
      node,
      stop,
      session: 0,
      sweeps: new Map(),
      news: new Set(),
      done: Promise.resolve(),
    };
    follower.done = this.#follow(follower);
    return follower;
  }

  async #follow(follower: Follower): Promise<void> {
    const { signal } = follower.stop;
    const peer = this.#options.links.peer(follower.node);
    let backoffMs = 50;
    while (!signal.aborted) {
      try {
        follower.session = ++this.#sessions;
        follower.news.clear();
        const request = { session: follower.session, from: this.#positions() };
        follower.sweeps = new Map();
        const items = peer.stream(method.rows, encodeRequest(request), { signal });
        setImmediate(() => this.#seen(follower));
        for await (const { head } of items) {
          await this.#accept(follower, decodeItem(head));
          backoffMs = 50;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof DirectoryDamaged) this.#damaged(error);
        else this.#options.log.debug({ err: error, node: follower.node }, "directory stream ended");
      }
      await pause(this.#options.clock, backoffMs, signal);
      backoffMs = Math.min(2 * backoffMs, 250);
    }
  }

  async #accept(follower: Follower, item: StreamItem): Promise<void> {
    if (follower.stop.signal.aborted) return;
    if (item.kind === "mark") {
      for (const position of item.shards) this.#marked(position, item.echo);
      return;
    }
    await this.#queue(async () => {
      const { at } = item;
      if (follower.stop.signal.aborted) return;
      const view = this.#shards.get(at.shard);
      // A former primary's late word: the present one tells the same and more.
      if (view !== undefined && at.epoch < view.epoch) return;
      if (this.#replica === undefined) return; // Being made anew.
      await this.#replica.apply(item, follower.sweeps);
      const whole = item.kind === "rows" || (item.kind === "claims" && item.through === undefined);
      if (whole) this.#advance(at);
      else if (view !== undefined) view.epoch = at.epoch;
    });
    follower.news.add(item.at.shard);
    this.#seen(follower);
  }

  #advance(at: Position): ShardView {
    const view = this.#shards.get(at.shard);
    if (view === undefined) {
      const made = { freshMs: Number.NEGATIVE_INFINITY, complete: true, ...at };
      this.#shards.set(at.shard, made);
      return made;
    }
    view.epoch = at.epoch;
    view.lsn = at.lsn;
    view.complete = true;
    return view;
  }

  #marked(at: Position, echo: number): void {
    const view = this.#shards.get(at.shard);
    if (view !== undefined && at.epoch < view.epoch) return;
    const marked = this.#advance(at);
    marked.freshMs = Math.max(marked.freshMs, echo);
  }

  #positions(): readonly Position[] {
    return [...this.#shards].map(([shard, { epoch, lsn }]) => ({ shard, epoch, lsn }));
  }

  #seen(follower: Follower): void {
    const applied: Position[] = [];
    for (const shard of follower.news) {
      const view = this.#shards.get(shard);
      if (view !== undefined) applied.push({ shard, epoch: view.epoch, lsn: view.lsn });
    }
    follower.news.clear();
    const nowMs = Math.floor(this.#options.clock.monotonicMs());
    const seen = { session: follower.session, nowMs, applied };
    this.#options.links.peer(follower.node).send(method.seen, encodeSeen(seen));
  }

  #beat(): void {
    if (this.#closed) return;
    for (const follower of this.#followers.values()) this.#seen(follower);
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#savedMs > saveEveryMs) {
      this.#savedMs = nowMs;
      const positions = this.#positions();
      this.#queue(async () => this.#replica?.savePositions(positions)).catch((error: unknown) =>
        this.#damaged(error),
      );
    }
    this.#timer = this.#options.clock.after(seenEveryMs, () => this.#beat());
  }
}
