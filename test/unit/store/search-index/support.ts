// A store in RAM with a search index, and the same search with and without it.

import { SeededRandom } from "../../../../src/lib/random.ts";
import type { Principal } from "../../../../src/mail/mail-store.ts";
import type { SearchKey } from "../../../../src/mail/search-key.ts";
import { mailboxId } from "../../../../src/mail/ids.ts";
import { inlineWorker } from "../../../../src/store/search-index/index-worker.ts";
import type { Disposable } from "../../../../src/store/search-index/index-rows.ts";
import { SearchIndex } from "../../../../src/store/search-index/search-index.ts";
import type { Database } from "../../../../src/store/write-queue.ts";
import { delivery, makeDatabase, makeStore, never } from "../harness.ts";
import type { Harness } from "../harness.ts";

export const inbox = mailboxId(1);

export interface Indexed extends Harness {
  readonly index: SearchIndex;
  /** The index's own rows, the newest database of it. */
  readonly rows: () => Database;
}

/** A database in RAM, new after each `destroy`. */
export function memoryDatabase(): Disposable & { readonly now: () => Database } {
  let db = makeDatabase();
  return {
    open: async () => {
      await db.open();
      return db;
    },
    destroy: async () => {
      db = makeDatabase();
    },
    now: () => db,
  };
}

export async function makeIndexed(): Promise<Indexed> {
  const harness = makeStore();
  const database = memoryDatabase();
  const index = await SearchIndex.open({
    engine: harness.engine,
    database,
    worker: inlineWorker,
    random: new SeededRandom(1),
    mayBuild: () => true,
  });
  harness.engine.searchHints = index;
  return { ...harness, index, rows: database.now };
}

export async function deliverAll(
  { store }: Harness,
  who: Principal,
  mails: readonly Uint8Array[],
): Promise<void> {
  await Promise.all(mails.map((bytes) => store.deliver(delivery([who], bytes), never)));
}

/** What a search finds, asking the index first. */
export async function found({ store }: Harness, who: Principal, key: SearchKey): Promise<number[]> {
  return [...(await store.search(who, { mailbox: inbox, key }, never)).uids];
}

/** What it finds by reading every message. */
export async function scanned(harness: Harness, who: Principal, key: SearchKey): Promise<number[]> {
  const { searchHints } = harness.engine;
  harness.engine.searchHints = undefined;
  try {
    return await found(harness, who, key);
  } finally {
    harness.engine.searchHints = searchHints;
  }
}
