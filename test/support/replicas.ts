// What the copies of stopped nodes hold: opens each data folder as `pabal check` does and lists, per
// shard, every message with its flags and the hash of its bytes, so that copies can be compared.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "../../src/lib/clock.ts";
import { realDisk } from "../../src/lib/real-disk.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { newEpochKind } from "../../src/cluster/node/log-shell.ts";
import { accountId, lsn as makeLsn } from "../../src/mail/ids.ts";
import type { AccountId, ShardId } from "../../src/mail/ids.ts";
import type { AccountState } from "../../src/store/account-state.ts";
import { type Body, readBodies } from "../../src/store/bodies.ts";
import { checkStore } from "../../src/store/check.ts";
import { accountInKey, afterPrefix, shardKey, shardTable } from "../../src/store/keyspace.ts";
import { decodeEntry } from "../../src/store/log/record.ts";
import type { SegmentLog } from "../../src/store/log/types.ts";
import { LocalJournal } from "../../src/store/local-journal.ts";
import { type OpenedStore, openIndex, openStore } from "../../src/store/open-store.ts";
import { digestPage, lastUnit } from "../../src/store/shard-digest.ts";

export interface StoredMessage {
  readonly user: string;
  readonly mailbox: string;
  readonly uid: number;
  readonly modSeq: number;
  /** Ascending, by name. */
  readonly flags: readonly string[];
  readonly bytes: Buffer;
}

interface LogEnd {
  readonly lsn: number;
  readonly hash: number;
}

export interface ShardCopy {
  /**
   * Where the log ends, newest first: at its end and, while only NEWEPOCHs lie between, before. A copy
   * made anew has no entries that are older than itself. One equal end: the logs are equal, byte for byte.
   */
  readonly ends: readonly LogEnd[];
  /** One line a message and a mailbox, ascending; equal lists are equal copies. */
  readonly lines: readonly string[];
}

export interface NodeCopy {
  readonly shards: ReadonlyMap<number, ShardCopy>;
  /** What `pabal check` would say; empty when all is well. */
  readonly findings: readonly string[];
}

/**
 * Reads a stopped node's data folder. Entries that lie in the log count, acknowledged or not.
 * @param onMessage Sees each message once, with its bytes.
 * @param wanted Other shards are not looked at.
 */
export async function readNode(
  folder: string,
  onMessage: (message: StoredMessage) => void = () => {},
  wanted: (shard: ShardId) => boolean = () => true,
): Promise<NodeCopy> {
  let shards: readonly ShardId[] = [];
  const opened = await openStore({
    disk: realDisk(folder),
    index: await openIndex(join(folder, "index")),
    clock: systemClock,
    random: systemRandom,
    onFatal: (error) => {
      throw error;
    },
    makeJournal: async ({ log, engine, bodies }) => {
      shards = [...log.shards.keys()].filter(wanted);
      return { journal: await LocalJournal.open(log, shards, engine.apply), bodies };
    },
  });
  try {
    const findings: string[] = [];
    const { engine, log } = opened;
    // Damage of a copy that the table does not name any more is nobody's.
    const damage = log.damage.filter((found) => found.shards.some(wanted));
    const options = { shards, damage, bodies: true };
    for await (const finding of checkStore(engine, options, AbortSignal.timeout(120_000)))
      findings.push(JSON.stringify(finding));
    const copies = new Map<number, ShardCopy>();
    for (const shard of shards) {
      if (log.state(shard).lastLsn === 0) continue;
      const ends = await endsOf(log, shard);
      copies.set(shard, { ends, lines: await readShard(opened, shard, onMessage) });
    }
    return { shards: copies, findings };
  } finally {
    await opened.close();
  }
}

/** A primary may have written NEWEPOCHs while the others were stopping. */
async function endsOf(log: SegmentLog, shard: ShardId): Promise<readonly LogEnd[]> {
  const { lastLsn, lastHash } = log.state(shard);
  const ends: LogEnd[] = [];
  for (let end: LogEnd = { lsn: lastLsn, hash: lastHash }; ; ) {
    ends.push(end);
    const read = await log.readEntries(shard, makeLsn(end.lsn), 1);
    const record = read.kind === "entries" ? read.records[0] : undefined;
    const entry = record === undefined ? undefined : decodeEntry(record);
    if (entry === undefined || entry.kind !== newEpochKind || end.lsn <= 1) return ends;
    end = { lsn: end.lsn - 1, hash: entry.prevHash };
  }
}

/** Who holds copies of a shard, as the shard table says. */
export interface ShardMembers {
  readonly shard: number;
  readonly nodes: readonly string[];
  /** Those whose copies are whole, the primary first; a third one is on its way in or out. */
  readonly whole: readonly string[];
}

/**
 * Reads all nodes below a cluster's data folder. @returns why the copies differ; empty when they agree.
 * @param members The shard table; what other nodes hold of a shard is not looked at.
 */
export async function compareReplicas(
  folders: readonly { readonly id: string; readonly data: string }[],
  members: readonly ShardMembers[],
  onMessage?: (message: StoredMessage) => void,
): Promise<readonly string[]> {
  const wrong: string[] = [];
  const copies = new Map<string, NodeCopy>();
  for (const { id, data } of folders) {
    const mine = new Set(
      members.filter(({ whole }) => whole.slice(0, 2).includes(id)).map(({ shard }) => shard),
    );
    const copy = await readNode(data, onMessage, (shard) => mine.has(shard));
    copies.set(id, copy);
    for (const finding of copy.findings) wrong.push(`${id}: ${finding}`);
  }
  for (const { shard, whole } of members) {
    const [first, second] = whole.map((node) => copies.get(node)?.shards.get(shard));
    if (whole.length < 2) wrong.push(`shard ${shard} has ${whole.length} whole copies`);
    // A shard without a single entry is nowhere.
    if (first === undefined && second === undefined) continue;
    if (first === undefined || second === undefined) {
      wrong.push(`shard ${shard} is not on all of ${whole.join(", ")}`);
      continue;
    }
    if (
      !first.ends.some(({ lsn, hash }) => second.ends.some((e) => e.lsn === lsn && e.hash === hash))
    )
      wrong.push(`shard ${shard}: logs end at ${shown(first.ends)} and ${shown(second.ends)}`);
    const others = new Set(second.lines);
    const missing = first.lines.filter((line) => !others.has(line));
    if (missing.length > 0 || first.lines.length !== second.lines.length)
      wrong.push(`shard ${shard}: the copies differ, first in ${missing[0] ?? "additions"}`);
  }
  return wrong;
}

/** One line a registration, mailbox and message of the shard, ascending; every body is read. */
function shown(ends: readonly LogEnd[]): string {
  return ends.map(({ lsn }) => lsn).join(" or ");
}

export async function readShard(
  opened: OpenedStore,
  shard: ShardId,
  onMessage: (message: StoredMessage) => void,
): Promise<string[]> {
  const { engine } = opened;
  const prefix = shardKey(shard, shardTable.account);
  const ids: AccountId[] = [];
  for await (const rows of engine.rows.range(prefix, afterPrefix(prefix)))
    for (const [key] of rows) ids.push(accountId(accountInKey(key, 4)));
  const lines: string[] = [];
  for (const id of ids) {
    const account = await engine.accounts.pin(id);
    if (account === undefined) continue;
    lines.push(`${id} ${JSON.stringify(account.registration)} ${JSON.stringify(account.quota)}`);
    await readAccount(opened, account, lines, onMessage);
    account.pins--;
  }
  lines.push(...(await digestsOf(opened, shard)));
  return lines.toSorted();
}

/** What nodes compare of their copies while they run (cluster/node/copy-compare.ts). */
async function digestsOf({ engine, log }: OpenedStore, shard: ShardId): Promise<string[]> {
  const parts = { rows: engine.rows, log };
  const lines: string[] = [];
  for (let after = -1; after < lastUnit; ) {
    const page = await digestPage(parts, shard, { after, through: lastUnit }, () =>
      Promise.resolve(),
    );
    for (const { unit, digest, sound } of page.units)
      lines.push(`digest ${unit} ${digest} ${sound}`);
    after = page.through;
  }
  return lines;
}

async function readAccount(
  { engine }: OpenedStore,
  account: AccountState,
  lines: string[],
  onMessage: (message: StoredMessage) => void,
): Promise<void> {
  for (const mailbox of account.mailboxes.values()) {
    const { name, uidValidity, counters } = mailbox;
    lines.push(`${account.id} ${name} ${uidValidity} ${JSON.stringify(counters)}`);
    const summary = await engine.accounts.pinSummary(account, mailbox);
    const { columns, keywords } = summary;
    for (let at = 0; at < columns.count; at++) {
      const { uid, modSeq, flags: bits, bodyTag, bodyLsn } = columns.row(at);
      const [body] = await readBodies(engine, columns, [uid], [{ tag: bodyTag, lsn: bodyLsn }]);
      if (body === undefined) throw new Error(`no body of ${account.id} ${name} ${uid}`);
      const bytes = await bytesOf(engine, body);
      const flags = keywords.list(bits).toSorted();
      const hash = createHash("sha256").update(bytes).digest("hex");
      lines.push(`${account.id} ${name} ${uid} ${modSeq} ${flags.join(" ")} ${hash}`);
      onMessage({ user: account.registration.name, mailbox: name, uid, modSeq, flags, bytes });
    }
    summary.pins--;
  }
}

async function bytesOf(engine: OpenedStore["engine"], body: Body): Promise<Buffer> {
  if (body.kind === "bytes") return Buffer.from(body.bytes);
  return Buffer.from(await engine.bodies.readBlob(body.id, 0, body.length));
}
