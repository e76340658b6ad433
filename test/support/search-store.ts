// A store on a real disk with a search index, for tests that open, damage and kill it. Run as a program
// (`node --import tsx test/support/search-store.ts <folder>`) it delivers and expunges mail until it is killed.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/lib/clock.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { realDisk } from "../../src/lib/real-disk.ts";
import { deliveryId, mailboxId, makeAccountId, opId, shardId } from "../../src/mail/ids.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { indexMessage } from "../../src/mail/mime/indexer.ts";
import type { SearchKey } from "../../src/mail/search-key.ts";
import { createAccount, firstMailboxes } from "../../src/store/accounts.ts";
import { openIndex, openStore, searchIndexAt } from "../../src/store/open-store.ts";
import type { OpenedStore } from "../../src/store/open-store.ts";

const shard = shardId(1);
const inbox = mailboxId(1);
const never = new AbortController().signal;
export const reader: Principal = { account: makeAccountId(shard, 1), shard, credVersion: 1 };
const change = () => ({ opId: opId(systemRandom.hex(16)), retry: false });

/** Opens the store in `folder`; the index is in `folder/search`. */
export async function openSearchStore(folder: string): Promise<OpenedStore> {
  return openStore({
    disk: realDisk(folder),
    index: await openIndex(join(folder, "index")),
    searchIndex: searchIndexAt(join(folder, "search")),
    clock: systemClock,
    random: systemRandom,
    shards: [shard],
    onFatal: (error) => {
      throw error;
    },
  });
}

export async function addReader({ engine }: OpenedStore): Promise<void> {
  const fresh = { ...change(), shard, account: reader.account, name: "u1@pabal.test", profile: {} };
  const limits = { aliases: [], credentials: { hash: "" }, quotaBytes: 0, quotaMessages: 0 };
  await createAccount(
    engine,
    { ...fresh, ...limits, mailboxes: firstMailboxes, uidValidityFloor: 0 },
    never,
  );
}

/** Mail number `from` and those behind it, told apart by `mail<number>x`; some are in Korean. */
export async function deliverSome(
  { store }: OpenedStore,
  from: number,
  count: number,
): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => from + at);
  await Promise.all(
    numbers.map((number) => {
      const words = number % 3 === 0 ? "분기 보고서를 보냅니다" : "the quarterly report";
      const bytes = Buffer.from(
        `Subject: number ${number}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n${words} mail${number}x\r\n`,
      );
      return store.deliver(
        {
          ...change(),
          shard,
          deliveryId: deliveryId(systemRandom.hex(13).toUpperCase()),
          recipients: [{ account: reader.account }],
          source: { kind: "bytes", bytes },
          index: indexMessage(bytes),
        },
        never,
      );
    }),
  );
}

/** A message that is too large for the log. */
export async function deliverLarge({ store }: OpenedStore, bytes: Buffer): Promise<void> {
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    yield bytes;
  };
  const id = systemRandom.hex(13).toUpperCase();
  const blob = await store.writeBlob(shard, id, pieces(), never);
  const to = { shard, deliveryId: deliveryId(id), recipients: [{ account: reader.account }] };
  const source = { kind: "blob", blob } as const;
  await store.deliver({ ...change(), ...to, source, index: indexMessage(bytes) }, never);
}

export async function expungeSome({ store }: OpenedStore, uids: readonly number[]): Promise<void> {
  const set = uids.flatMap((uid) => [uid, uid]);
  await store.expunge(reader, { ...change(), mailbox: inbox, uids: set, force: true }, never);
}

/** What the search finds with the index, and by reading everything. */
export async function bothWays(
  { store, engine }: OpenedStore,
  key: SearchKey,
): Promise<{ readonly found: readonly number[]; readonly scanned: readonly number[] }> {
  const found = [...(await store.search(reader, { mailbox: inbox, key }, never)).uids];
  const { searchHints } = engine;
  engine.searchHints = undefined;
  const scanned = [...(await store.search(reader, { mailbox: inbox, key }, never)).uids];
  engine.searchHints = searchHints;
  return { found, scanned };
}

/** Changes mail without an end; says so after each round. */
async function run(folder: string): Promise<void> {
  const opened = await openSearchStore(folder);
  for (let round = 0; ; round++) {
    const { uids } = await opened.store.openMailbox(reader, { name: "INBOX", claimRecent: false });
    await deliverSome(opened, (uids.at(-1) ?? 0) + 1, 40);
    await expungeSome(
      opened,
      [...uids].filter((uid) => uid % 9 === round % 9),
    );
    const { messages = 0, merges = 0 } = opened.searchIndex?.figures ?? {};
    process.stdout.write(`${JSON.stringify({ round, messages, merges })}\n`);
  }
}

const [, program, folder] = process.argv;
if (program === fileURLToPath(import.meta.url) && folder !== undefined) {
  // Whoever started it has to end it, and its folder is no more when that one is gone.
  process.stdin.on("end", () => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(1);
  });
  process.stdin.resume();
  await run(folder);
}
