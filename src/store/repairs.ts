// Damaged bytes of this node's copy replaced by another member's: bodies, blobs and rows of the index,
// as they are found by reads or by the scrubber. A wrong byte is never served; what no member has
// unharmed is shown as lost. What the other member gives is repair-source.ts.

import { MailError, isMailError } from "../mail/errors.ts";
import { accountId, lsn as makeLsn, mailboxId, shardId } from "../mail/ids.ts";
import type { AccountId, Lsn, MailboxId, ShardId } from "../mail/ids.ts";
import type { AccountState } from "./account-state.ts";
import { fold } from "./blocks.ts";
import type { Engine } from "./engine.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  blobPrefix,
  bodyKey,
  bodyOfBlobKey,
  bodyTable,
  mailboxKey,
  modSeqOfKey,
  shardAccountKey,
  space,
  table,
} from "./keyspace.ts";
import type { BlobStore } from "./log/blob-store.ts";
import type { BodyId, SegmentLog } from "./log/types.ts";
import type { KeyRange, RepairSource } from "./repair-source.ts";
import { openRow, rowIsSound } from "./row.ts";
import { putPlace, readPlace, readRegistrationRow } from "./rows.ts";
import type { BodyPlace } from "./rows.ts";
import { accountPrefix } from "./shard-rows.ts";

export type DamageKind = "row" | "body" | "blob" | "record";

export interface RepairFigures {
  /** Found damaged since the start, by kind. */
  readonly found: Readonly<Record<DamageKind, number>>;
  readonly repaired: number;
  /** No member has these unharmed. */
  readonly lost: number;
}

/** `later`: nobody could be asked. */
export type Mended = "repaired" | "lost" | "later";

export interface RepairParts {
  readonly engine: Engine;
  readonly log: SegmentLog;
  readonly blobs: BlobStore;
  /** Hears of each damage once it is dealt with, or could not be. */
  readonly onDamage?: (kind: DamageKind, what: string, outcome: Mended) => void;
}

const foldedTables = [table.block, table.fold, table.change] as const;
const pageTables = [table.page, table.pages] as const;
const triesMax = 4;
/** Damages that wait for another member; more are found again by the next reader. */
const underWayMax = 1000;

export class Repairs {
  readonly #parts: RepairParts;
  /** One repair of a thing at a time; who comes meanwhile waits for that. */
  readonly #underWay = new Map<string, Promise<Mended>>();
  readonly #found: Record<DamageKind, number> = { row: 0, body: 0, blob: 0, record: 0 };
  #repaired = 0;
  #lost = 0;
  #source: RepairSource | undefined;

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  /** Without one, nothing can be repaired: `later`. */
  set source(source: RepairSource) {
    this.#source = source;
  }

  get figures(): RepairFigures {
    return { found: { ...this.#found }, repaired: this.#repaired, lost: this.#lost };
  }

  /** A record of the log that nobody's body lies in: only counted. */
  noteRecord(what: string): void {
    this.#found.record++;
    this.#parts.onDamage?.("record", what, "later");
  }

  /** A body whose place or bytes are bad: afterwards its row leads to good ones, or says lost. */
  body(id: BodyId): Promise<Mended> {
    const name = `body ${id.shard} ${id.lsn} ${id.part}`;
    return this.#once("body", name, (source) => this.#mendBody(source, id));
  }

  /** A blob file with wrong bytes, or none. */
  blob(name: string): Promise<Mended> {
    return this.#once("blob", name, (source) => this.#mendBlob(source, name));
  }

  /** A row whose checksum is wrong, or that should be there. */
  row(key: Buffer): Promise<Mended> {
    if (key[0] === space.body && key[11] === bodyTable.location) return this.body(bodyOf(key));
    return this.#once("row", key.toString("hex"), (source) => this.#mendRow(source, key));
  }

  /**
   * All rows of an account but its messages' own, which are mended one by one: they do not add up, and
   * the other member's do. Nothing of the shard may be served here.
   */
  account(shard: ShardId, id: AccountId): Promise<Mended> {
    const { accounts, rows } = this.#parts.engine;
    const list = shardAccountKey(shard, id);
    const of = accountPrefix(space.account, id);
    const at = (which: number): Buffer => Buffer.concat([of, Buffer.of(which)]);
    const ranges = [
      { gte: list, lt: Buffer.concat([list, Buffer.of(0)]) },
      { gte: at(0), lt: at(table.static) },
      { gte: at(table.block), lt: afterPrefix(of) },
    ];
    const version = async (): Promise<unknown> => {
      // Whoever had it in RAM would write out again what they read.
      await accounts.dropAccount(id);
      const seen: string[] = [];
      for (const which of [table.registration, table.quota, table.counters, table.annotation]) {
        for await (const batch of rows.range(at(which), at(which + 1)))
          for (const [key, value] of batch) seen.push(key.toString("hex"), value.toString("hex"));
      }
      return accounts.holds(id) ? Symbol("held") : seen.join(" ");
    };
    return this.#once("row", `account ${id}`, (source) =>
      this.#replace(source, shard, ranges, version),
    );
  }

  /** True when the error named a row and that row is good now: what failed may be tried again. */
  async rowOf(error: unknown): Promise<boolean> {
    if (!isMailError(error, "DAMAGED") || error.failure.code !== "DAMAGED") return false;
    const hex = /^row ((?:[0-9a-f]{2})+)$/.exec(error.failure.what)?.[1];
    return hex !== undefined && (await this.row(Buffer.from(hex, "hex"))) === "repaired";
  }

  #once(
    kind: DamageKind,
    what: string,
    mend: (source: RepairSource) => Promise<Mended>,
  ): Promise<Mended> {
    const name = `${kind} ${what}`;
    const running = this.#underWay.get(name);
    if (running !== undefined) return running;
    this.#found[kind]++;
    if (this.#underWay.size >= underWayMax) {
      this.#parts.onDamage?.(kind, what, "later");
      return Promise.resolve("later");
    }
    const done = mend(this.#source ?? nobody)
      .catch((error: unknown): Mended => {
        if (isMailError(error)) return "later";
        throw error;
      })
      .then((outcome) => {
        if (outcome === "repaired") this.#repaired++;
        if (outcome === "lost") this.#lost++;
        this.#parts.onDamage?.(kind, what, outcome);
        return outcome;
      })
      .finally(() => this.#underWay.delete(name));
    this.#underWay.set(name, done);
    return done;
  }

  async #mendBody(source: RepairSource, id: BodyId): Promise<Mended> {
    const { engine, log } = this.#parts;
    const tag = id.shard * 2 ** 16 + id.part;
    const key = bodyKey(tag, id.lsn);
    const before = await engine.rows.get(key);
    const place =
      before !== undefined && rowIsSound(key, before) ? readPlace(openRow(key, before)) : undefined;
    if (place?.kind === "blob") return this.#mendBlob(source, place.id);
    const given = await source.body(id);
    this.#mustBeSound(id.shard);
    if (given?.kind === "blob") {
      const { name, bytes: length, sha256 } = given.blob;
      putPlace(engine.rows, tag, id.lsn, { kind: "blob", id: name, length, sha256 });
      return this.#mendBlob(source, name);
    }
    const bytes = given?.bytes;
    const wrong = place !== undefined && bytes !== undefined && bytes.length !== place.length;
    if (bytes === undefined || wrong) {
      if (place?.kind !== "lost") {
        putPlace(engine.rows, tag, id.lsn, { kind: "lost", length: place?.length ?? 0 });
      }
      return "lost";
    }
    // `source` may hand out a view of something large.
    const { location, group } = log.appendBody(id, Uint8Array.from(bytes));
    await group.durable;
    this.#mustBeSound(id.shard);
    const { length } = bytes;
    putPlace(engine.rows, tag, id.lsn, { kind: "segment", location, offset: 0, length });
    return "repaired";
  }

  async #mendBlob(source: RepairSource, name: string): Promise<Mended> {
    const found = await this.#blobPlace(name);
    if (found === undefined) return "later";
    const { shard, place } = found;
    const info = { name, bytes: place.length, sha256: place.sha256 };
    // It may be its checksums that are bad, or were never written: they are now.
    if (await this.#parts.blobs.isComplete(info)) return "repaired";
    const writer = await this.#parts.blobs.create(name);
    try {
      for await (const piece of source.blob(shard, name)) {
        await writer.write(piece);
        if (writer.bytes > info.bytes) break;
      }
    } catch (error) {
      await writer.abort();
      if (isMailError(error, "DAMAGED")) return "lost";
      throw error;
    }
    return (await writer.finishIf(info)) ? "repaired" : "lost";
  }

  /** What a body that lies in the blob says of it. */
  async #blobPlace(
    name: string,
  ): Promise<{ shard: ShardId; place: Extract<BodyPlace, { kind: "blob" }> } | undefined> {
    const { rows } = this.#parts.engine;
    const prefix = blobPrefix(name);
    for await (const batch of rows.range(prefix, afterPrefix(prefix))) {
      for (const [reference] of batch) {
        const { shard, lsn, part } = bodyOfBlobKey(reference);
        const key = bodyKey(shard * 2 ** 16 + part, lsn);
        const value = await rows.get(key);
        if (value === undefined || !rowIsSound(key, value)) continue;
        const place = readPlace(openRow(key, value));
        if (place.kind === "blob") return { shard: shardId(shard), place };
      }
    }
    return undefined;
  }

  async #mendRow(source: RepairSource, key: Buffer): Promise<Mended> {
    const shard = await this.#shardOf(key);
    if (shard === undefined) return "later";
    const which = key[0] === space.account ? key[9] : undefined;
    const isPage = pageTables.some((each) => each === which);
    const isFolded = foldedTables.some((each) => each === which);
    if ((isPage || isFolded) && key.length >= 14) {
      const account = accountId(accountInKey(key, 1));
      const mailbox = mailboxId(key.readUInt32BE(10));
      const prefixes = (tables: readonly number[]): Buffer[] =>
        tables.map((each) => mailboxKey(account, each, mailbox));
      // Pages are made anew from what they were made of.
      if (isPage) return this.#drop(prefixes(pageTables));
      const state = this.#parts.engine.accounts.peek(account);
      if (state !== undefined && (await this.#refold(state, mailbox))) return "repaired";
      return this.#replace(source, shard, prefixes(foldedTables).map(wholly), () =>
        this.#modSeqOf(account, mailbox),
      );
    }
    const only = { gte: key, lt: Buffer.concat([key, Buffer.of(0)]) };
    return this.#replace(source, shard, [only], () => this.#isSound(key));
  }

  /**
   * Puts the giver's rows in place of ours. An entry applied meanwhile may have written some of them
   * anew: `version` tells, and it is tried again. The giver has at least all that is applied here.
   */
  async #replace(
    source: RepairSource,
    shard: ShardId,
    ranges: readonly KeyRange[],
    version: () => Promise<unknown>,
  ): Promise<Mended> {
    const { engine, log } = this.#parts;
    for (let tries = 0; tries < triesMax; tries++) {
      const before = await version();
      if (before === true) return "repaired"; // A single row that was written anew.
      const atLeast: Lsn = makeLsn(log.state(shard).applied);
      const given = await source.rows(shard, atLeast, ranges);
      if (given.rows === undefined) return "lost";
      const ours: Buffer[] = [];
      for (const { gte, lt } of ranges) {
        for await (const batch of engine.rows.range(gte, lt)) {
          for (const [key] of batch) ours.push(key);
        }
      }
      if ((await version()) !== before) continue;
      this.#mustBeSound(shard);
      if (ours.length === 0 && given.rows.length === 0) return "later"; // There is no such row.
      // Nothing is waited for from here on.
      for (const key of ours) engine.rows.del(key);
      for (const [key, value] of given.rows) engine.rows.put(Buffer.from(key), Buffer.from(value));
      return "repaired";
    }
    return "later";
  }

  /** What belongs to a copy that was given up is not mended: all of it is made anew. */
  #mustBeSound(shard: ShardId): void {
    if (!this.#parts.log.state(shard).damaged) return;
    throw new MailError({ code: "UNAVAILABLE", why: "the copy is being made anew" });
  }

  async #drop(prefixes: readonly Buffer[]): Promise<Mended> {
    const { rows } = this.#parts.engine;
    for (const prefix of prefixes) {
      for await (const batch of rows.range(prefix, afterPrefix(prefix))) {
        for (const [key] of batch) rows.del(key);
      }
    }
    return "repaired";
  }

  /** What is in RAM is right: written out again, it replaces blocks and changes. */
  async #refold(account: AccountState, id: MailboxId): Promise<boolean> {
    const { rows } = this.#parts.engine;
    const old: Buffer[] = [];
    for (const each of [table.change, table.block]) {
      const prefix = mailboxKey(account.id, each, id);
      for await (const batch of rows.range(prefix, afterPrefix(prefix))) {
        for (const [key] of batch) old.push(key);
      }
    }
    const mailbox = account.mailboxes.get(id);
    const summary = mailbox?.summary;
    if (mailbox === undefined || summary === undefined) return false;
    const { modSeq } = mailbox.counters;
    for (const block of summary.blocks) summary.dirtyBlocks.add(block);
    summary.dirtyBlocks.add(0);
    fold(rows, account.id, id, summary, modSeq);
    const blocks = new Set(summary.blocks);
    for (const key of old) {
      const isNeeded =
        key[9] === table.change ? modSeqOfKey(key) > modSeq : blocks.has(key.readUInt32BE(14));
      if (!isNeeded) rows.del(key);
    }
    return true;
  }

  async #modSeqOf(account: ReturnType<typeof accountId>, mailbox: MailboxId): Promise<string> {
    const value = await this.#parts.engine.rows.get(mailboxKey(account, table.counters, mailbox));
    return value?.toString("hex") ?? "";
  }

  async #isSound(key: Buffer): Promise<boolean | undefined> {
    const value = await this.#parts.engine.rows.get(key);
    return value !== undefined && rowIsSound(key, value) ? true : undefined;
  }

  async #shardOf(key: Buffer): Promise<ShardId | undefined> {
    const { engine, log } = this.#parts;
    switch (key[0]) {
      case space.node:
        return undefined;
      case space.blob:
        return shardId(bodyOfBlobKey(key).shard);
      case space.account:
      case space.gone: {
        const account = accountId(accountInKey(key, 1));
        const row = accountKey(account, table.registration);
        const value = await engine.rows.get(row);
        if (value !== undefined && rowIsSound(row, value)) {
          return readRegistrationRow(openRow(row, value)).shard;
        }
        const shards = [...log.shards.keys()];
        const listed = await engine.rows.getMany(
          shards.map((shard) => shardAccountKey(shard, account)),
        );
        return shards.find((_, at) => listed[at] !== undefined);
      }
      default:
        return shardId(key.readUInt16BE(1));
    }
  }
}

const nobodyToAsk = (): Promise<never> =>
  Promise.reject(new MailError({ code: "UNAVAILABLE", why: "there is no other member" }));

/** Stands in for the other members where there are none. */
const nobody: RepairSource = {
  body: nobodyToAsk,
  rows: nobodyToAsk,
  blob: async function* () {
    yield await nobodyToAsk();
  },
};

function wholly(prefix: Buffer): KeyRange {
  return { gte: prefix, lt: afterPrefix(prefix) };
}

/** The body that a key of its table of places names. */
function bodyOf(key: Buffer): BodyId {
  const shard = shardId(key.readUInt16BE(1));
  return { shard, lsn: makeLsn(key.readUIntBE(3, 6)), part: key.readUInt16BE(9) };
}
