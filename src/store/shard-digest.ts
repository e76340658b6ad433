// What this node's copy of a shard says, in few bytes, so that two copies can be compared: a digest for
// each account as of one entry of the log, and sums of bodies, which never change. Taken from the rows,
// not from RAM: what a disk has lost silently shows. Comparing is the cluster's (cluster/node/copy-compare.ts).

import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { isMailError } from "../mail/errors.ts";
import { accountId, mailboxId } from "../mail/ids.ts";
import type { AccountId, Lsn, MailboxId, ShardId } from "../mail/ids.ts";
import { columnsOf, loadSummary } from "./blocks.ts";
import { countedFields, countersOf } from "./check.ts";
import type { Columns } from "./columns.ts";
import { readCounters } from "./entry-codec.ts";
import type { Counters, QuotaUse } from "./entry-kind.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  bodyKey,
  ownerKey,
  shardAccountKey,
  shardKey,
  shardTable,
  space,
  staticKey,
  table,
} from "./keyspace.ts";
import type { SegmentLog } from "./log/types.ts";
import { soundCopy } from "./repair-source.ts";
import { payloadOf, rowIsSound } from "./row.ts";
import { SnapshotReader } from "./row-reader.ts";
import { readPlace, readQuota, readRegistrationRow } from "./rows.ts";
import { accountPrefix, shardPrefix } from "./shard-rows.ts";
import type { WriteQueue } from "./write-queue.ts";

/** Copies whose digests are taken in different ways are not compared. */
export const digestVersion = 1;
/** What the shard keeps as a whole: names, groups, the spool. */
export const shardUnit = 0;
/** Behind every account. */
export const lastUnit = Number.MAX_SAFE_INTEGER;

export interface UnitDigest {
  /** An account, or `shardUnit`. */
  readonly unit: number;
  readonly digest: string;
  /** Every row is as it was written, what is counted is there, and so are each message's rows. */
  readonly sound: boolean;
}

/** Units in ascending order, all as of the entry `lsn`. */
export interface DigestPage {
  readonly lsn: Lsn;
  readonly units: readonly UnitDigest[];
  /** The unit up to which this page reaches, those that are not there included. */
  readonly through: number;
  /** Rows that are damaged, or should be there and are not; at most `missingMax`. */
  readonly missing: readonly Buffer[];
}

export interface DigestParts {
  readonly rows: WriteQueue;
  readonly log: SegmentLog;
}

/** One page ends with the unit that reaches one of these. */
const unitsPerPage = 200;
const messagesPerPage = 20_000;
const messagesPerRead = 256;
const missingMax = 5000;
/** A row and its reading, about. */
const messageBytes = 500;

/**
 * Digests of the units behind `after` (−1: from the first on), up to `through`, or as many as make a page.
 *
 * @param pace hears of bytes that were read, and may wait.
 * @throws {MailError} UNAVAILABLE: this node has no sound copy.
 */
export async function digestPage(
  parts: DigestParts,
  shard: ShardId,
  range: { readonly after: number; readonly through: number },
  pace: (bytes: number) => Promise<void>,
): Promise<DigestPage> {
  const { rows, log } = parts;
  soundCopy(log, shard);
  const taken = await rows.snapshot(() => log.state(shard).applied);
  try {
    const page = new Page(new SnapshotReader(rows, taken.rows), shard, pace);
    const through = await page.read(range);
    return { lsn: taken.mark, units: page.units, through, missing: page.missing };
  } finally {
    await taken.rows.close();
  }
}

class Page {
  readonly units: UnitDigest[] = [];
  readonly missing: Buffer[] = [];
  readonly #rows: SnapshotReader;
  readonly #shard: ShardId;
  readonly #pace: (bytes: number) => Promise<void>;
  #messages = 0;
  /** Of the unit at hand. */
  #hash: Hash = createHash("sha256");
  #sound = true;

  constructor(rows: SnapshotReader, shard: ShardId, pace: (bytes: number) => Promise<void>) {
    this.#rows = rows;
    this.#shard = shard;
    this.#pace = pace;
  }

  async read({ after, through }: { readonly after: number; readonly through: number }) {
    if (after < shardUnit) {
      await this.#unit(shardUnit, () => this.#wholeShard());
      if (through === shardUnit) return shardUnit;
    }
    const from = shardAccountKey(this.#shard, accountId(Math.max(after, 0) + 1));
    const list = shardKey(this.#shard, shardTable.account);
    for await (const batch of this.#rows.range(from, afterPrefix(list), unitsPerPage)) {
      for (const [key] of batch) {
        const account = accountId(accountInKey(key, 4));
        if (account > through) return through;
        if (await this.#livesHere(account)) {
          await this.#unit(account, () => this.#account(account));
        }
        const isFull = this.units.length >= unitsPerPage || this.#messages >= messagesPerPage;
        if (isFull && account < through) return account;
      }
    }
    return through;
  }

  async #unit(unit: number, read: () => Promise<void>): Promise<void> {
    this.#hash = createHash("sha256");
    this.#sound = true;
    try {
      await read();
    } catch (error) {
      if (!isMailError(error, "DAMAGED")) throw error;
      this.#sound = false;
    }
    const digest = this.#hash.digest("hex").slice(0, 32);
    this.units.push({ unit, digest, sound: this.#sound });
  }

  /** One that has moved away may still be listed. */
  async #livesHere(account: AccountId): Promise<boolean> {
    const key = accountKey(account, table.registration);
    const value = await this.#rows.get(key);
    if (value === undefined || !rowIsSound(key, value)) return true;
    return readRegistrationRow(payloadOf(value)).shard === this.#shard;
  }

  /** Unconfirmed deliveries get their rows at checkpoints, each node at its own. */
  async #wholeShard(): Promise<void> {
    const counter = shardKey(this.#shard, shardTable.accountCounter);
    await this.#all(counter);
    for (const which of [shardTable.group, shardTable.reader])
      await this.#all(shardKey(this.#shard, which));
    for (const which of [space.claim, space.spool])
      await this.#all(shardPrefix(which, this.#shard));
  }

  /**
   * Not in it: what nodes sweep by their own clocks (outcomes, what mailboxes leave behind), and what each
   * derives for itself (pages, how far changes are folded into blocks).
   */
  async #account(account: AccountId): Promise<void> {
    const counters = new Map<MailboxId, Counters>();
    let quota: QuotaUse = { bytes: 0, messages: 0 };
    const ids: MailboxId[] = [];
    const isKnown = (key: Buffer): boolean => ids.includes(mailboxId(key.readUInt32BE(10)));
    await this.#all(shardAccountKey(this.#shard, account));
    let isHere = false;
    await this.#table(account, table.registration, () => (isHere = true));
    if (!isHere) this.#sound = false;
    await this.#table(account, table.account);
    await this.#table(account, table.quota, (_, value) => {
      quota = readQuota(payloadOf(value));
      return true;
    });
    await this.#table(
      account,
      table.mailbox,
      (key) => ids.push(mailboxId(key.readUInt32BE(10))) > 0,
    );
    await this.#table(account, table.counters, (key, value) => {
      if (!isKnown(key)) return false;
      counters.set(mailboxId(key.readUInt32BE(10)), readCounters(payloadOf(value)));
      return true;
    });
    await this.#table(account, table.keywords, isKnown);
    await this.#table(account, table.subscription);
    await this.#table(account, table.vanished, isKnown);
    await this.#table(
      account,
      table.annotation,
      (key) => key.readUInt32BE(10) === 0 || isKnown(key),
    );
    await this.#table(account, table.readState);
    let bytes = 0;
    let messages = 0;
    for (const id of ids) {
      const { columns } = await loadSummary(this.#rows, account, id);
      const said = counters.get(id);
      const counted = said === undefined ? undefined : countersOf(said, columns);
      const isRight = countedFields.every((field) => counted?.[field] === said?.[field]);
      if (!isRight || counted === undefined) this.#sound = false;
      bytes += counted?.sizeBytes ?? 0;
      messages += columns.count;
      await this.#mailbox(account, id, columns);
    }
    if (bytes !== quota.bytes || messages !== quota.messages) this.#sound = false;
  }

  async #mailbox(account: AccountId, mailbox: MailboxId, columns: Columns): Promise<void> {
    for (const column of columnsOf(columns)) {
      const { buffer, byteOffset, BYTES_PER_ELEMENT: width } = column;
      this.#hash.update(new Uint8Array(buffer, byteOffset, columns.count * width));
    }
    this.#messages += columns.count;
    for (let from = 0; from < columns.count; from += messagesPerRead) {
      const keys: Buffer[] = [];
      const end = Math.min(columns.count, from + messagesPerRead);
      for (let at = from; at < end; at++) {
        const tag = columns.bodyTag[at] ?? 0;
        const lsn = columns.bodyLsn[at] ?? 0;
        keys.push(staticKey(account, tag, lsn), bodyKey(tag, lsn));
        keys.push(ownerKey(tag, lsn, account, mailbox, columns.uid[at] ?? 0));
      }
      const values = await this.#rows.getMany(keys);
      for (const [at, key] of keys.entries()) this.#messageRow(key, values[at]);
      await this.#pace((end - from) * messageBytes);
    }
  }

  /** A static row's checksum stands for it; where a body lies is this node's own. */
  #messageRow(key: Buffer, value: Buffer | undefined): void {
    if (value === undefined || !rowIsSound(key, value)) {
      this.#bad(key);
    } else if (key[0] === space.account) {
      this.#hash.update(value.subarray(0, 4));
    } else if (key.length === bodyKeyBytes) {
      this.#hash.update(String(readPlace(payloadOf(value)).length));
    }
  }

  /** `counts` is asked for sound rows only; those for which it says no are left out. */
  async #table(
    account: AccountId,
    which: number,
    counts: (key: Buffer, value: Buffer) => boolean = () => true,
  ): Promise<void> {
    const prefix = Buffer.concat([accountPrefix(space.account, account), Buffer.of(which)]);
    await this.#all(prefix, counts);
  }

  async #all(
    prefix: Buffer,
    counts: (key: Buffer, value: Buffer) => boolean = () => true,
  ): Promise<void> {
    for await (const batch of this.#rows.range(prefix, afterPrefix(prefix))) {
      let bytes = 0;
      for (const [key, value] of batch) {
        bytes += key.length + value.length;
        if (!rowIsSound(key, value)) this.#bad(key);
        else if (counts(key, value)) this.#hash.update(key).update(value);
      }
      await this.#pace(bytes);
    }
  }

  #bad(key: Buffer): void {
    this.#sound = false;
    if (this.missing.length < missingMax) this.missing.push(key);
  }
}

const bodyKeyBytes = 12;
