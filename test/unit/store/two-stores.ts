// Stores on simulated disks between which a shard is copied and followed, for tests of copies and repairs.

import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { lsn, makeAccountId, shardId } from "../../../src/mail/ids.ts";
import type { ShardId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import type { Journal } from "../../../src/store/journal.ts";
import { LocalJournal } from "../../../src/store/local-journal.ts";
import { decodeEntry } from "../../../src/store/log/record.ts";
import { openStore } from "../../../src/store/open-store.ts";
import type { OpenedStore } from "../../../src/store/open-store.ts";
import type { CopyPiece } from "../../../src/store/shard-copy.ts";
import type { Database } from "../../../src/store/write-queue.ts";
import { change, delivery, makeDatabase, message, never, shard, TestClock } from "./harness.ts";

export const other = shardId(4);

export interface Node {
  readonly disk: SimulatedDisk;
  readonly index: Database;
  readonly opened: OpenedStore;
}

export async function open(disk = new SimulatedDisk(), index = makeDatabase()): Promise<Node> {
  await index.open();
  const opened = await openStore({
    disk,
    index,
    clock: new TestClock(),
    random: new SeededRandom(5),
    logSizes: { segmentBytes: 20_000, windowMs: 0, windowBytesMax: 0 },
    limits: { unfoldedMax: 3 },
    scrub: { bytesPerSecondMax: Number.POSITIVE_INFINITY },
    makeJournal: async ({ log, engine, bodies }) => {
      const local = await LocalJournal.open(log, [shard, other], engine.apply);
      const journal: Journal = {
        propose: (draft) => local.propose(draft),
        serves: (asked) => local.serves(asked) || !log.state(asked).damaged,
      };
      return { journal, bodies };
    },
    onFatal: () => undefined,
  });
  return { disk, index, opened };
}

export async function addUser(node: Node, home: ShardId, counter: number): Promise<Principal> {
  const account = makeAccountId(home, counter);
  const fields = { name: `u${counter}@pabal.test`, aliases: [], profile: {}, uidValidityFloor: 0 };
  const limits = { quotaBytes: 0, quotaMessages: 0, credentials: { hash: "" } };
  const request = { ...change(), shard: home, account, mailboxes: firstMailboxes };
  await createAccount(node.opened.engine, { ...request, ...fields, ...limits }, never);
  return { account, shard: home, credVersion: 1 };
}

export function deliverTo(node: Node, who: readonly Principal[], bytes: Uint8Array) {
  const home = who[0]?.shard ?? shard;
  return node.opened.store.deliver({ ...delivery(who, bytes), shard: home }, never);
}

export async function deliverLarge(node: Node, who: Principal, name: string): Promise<void> {
  const bytes = Buffer.from(message("large", name.repeat(20_000)));
  const chunks = (async function* () {
    yield bytes;
  })();
  const blob = await node.opened.store.writeBlob(shard, name, chunks, never);
  const source = { kind: "blob", blob } as const;
  const request = { ...delivery([who], bytes), source, index: indexMessage(bytes) };
  await node.opened.store.deliver(request, never);
}

/** Copies the shard; `during` runs at each piece. */
export function copy(
  from: Node,
  to: Node,
  during: (piece: CopyPiece) => void | Promise<void> = () => undefined,
) {
  const pieces = async function* (): AsyncGenerator<CopyPiece> {
    for await (const piece of from.opened.copies.exportShard(shard, never)) {
      yield piece;
      await during(piece);
    }
  };
  return to.opened.copies.importShard(shard, pieces(), never);
}

/** Hands the entries behind the copy over, as a primary would. */
export async function follow(from: Node, to: Node): Promise<void> {
  const { log, engine } = to.opened;
  for (;;) {
    const next = lsn(log.state(shard).lastLsn + 1);
    const read = await from.opened.log.readEntries(shard, next, 100_000);
    if (read.kind === "pruned" || read.records.length === 0) return;
    for (const record of read.records) {
      const { location, group } = log.appendRaw(Uint8Array.from(record));
      await group.durable;
      const entry = decodeEntry(record);
      if (entry === undefined) throw new Error("a record does not decode");
      const { lsn: at, epoch, opId, kind, head } = entry;
      log.setCommitMark(shard, at);
      engine.apply({ shard, lsn: at, epoch, opId, kind, head, location });
      log.setApplied(shard, at);
    }
  }
}

export async function close(...nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) await node.opened.close();
}
