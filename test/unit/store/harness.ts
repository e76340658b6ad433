// An engine over memory-level and a journal in RAM that commits when told, for tests of what entries
// mean. Durability is tested with the real log.

import { Buffer } from "node:buffer";
import { MemoryLevel } from "memory-level";
import { SeededRandom } from "../../../src/lib/random.ts";
import type { Clock } from "../../../src/lib/clock.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { partsOf } from "../../../src/mail/fetch-parts.ts";
import { deliveryId, epoch, lsn, makeAccountId, opId, shardId } from "../../../src/mail/ids.ts";
import type { AccountId, Lsn, OpId, ShardId } from "../../../src/mail/ids.ts";
import type {
  BlobRef,
  DeliverRequest,
  FetchChunk,
  Principal,
} from "../../../src/mail/mail-store.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import type { BodySource } from "../../../src/store/body-source.ts";
import { Engine } from "../../../src/store/engine.ts";
import type { Entry, EntryDraft, Journal, Location } from "../../../src/store/journal.ts";
import { defaultStoreLimits } from "../../../src/store/limits.ts";
import type { StoreLimits } from "../../../src/store/limits.ts";
import { LocalMailStore } from "../../../src/store/local-mail-store.ts";
import { RegistrationFeed } from "../../../src/store/registration-feed.ts";
import { WriteQueue } from "../../../src/store/write-queue.ts";
import type { Database } from "../../../src/store/write-queue.ts";

export const never = new AbortController().signal;
export const shard = shardId(3);
const bodiesPerSegment = 1000;

/** Keeps entries and bodies in RAM; commits at the next microtask unless held. */
export class MemoryJournal implements Journal, BodySource {
  readonly entries: Entry[] = [];
  readonly blobs = new Map<string, Uint8Array>();
  readonly #bodies: Uint8Array[] = [];
  readonly #waiting: (() => void)[] = [];
  serving = true;
  held = false;
  /** Entries are given up (never applied) instead of committed. */
  losing = false;
  apply: (entry: Entry) => void = () => undefined;

  propose(draft: EntryDraft): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    if (!this.serving) throw new MailError({ code: "WRONG_NODE", shard: draft.shard });
    const body = draft.body ?? new Uint8Array(0);
    this.#bodies.push(body);
    const location: Location = {
      segment: 1,
      offset: this.#bodies.length * bodiesPerSegment,
      bodyOffset: this.#bodies.length - 1,
      bodyBytes: body.length,
    };
    const entry: Entry = {
      shard: draft.shard,
      lsn: lsn(this.entries.length + 1),
      epoch: epoch(1),
      opId: draft.opId,
      kind: draft.kind,
      head: draft.head,
      payload: draft.payload,
      location,
    };
    this.entries.push(entry);
    const committed = new Promise<void>((resolve, reject) => {
      const commit = (): void => {
        if (this.losing) {
          reject(new MailError({ code: "REPLICA_UNREACHABLE", shard: draft.shard }));
          return;
        }
        this.apply(entry);
        resolve();
      };
      if (this.held) this.#waiting.push(commit);
      else queueMicrotask(commit);
    });
    return { lsn: entry.lsn, committed };
  }

  /** Commits what was held, in order. */
  release(): void {
    this.held = false;
    for (const commit of this.#waiting.splice(0)) commit();
  }

  serves(): boolean {
    return this.serving;
  }

  async readMany(locations: readonly Location[]): Promise<readonly Uint8Array[]> {
    return locations.map(({ bodyOffset }) => this.#bodies[bodyOffset] ?? new Uint8Array(0));
  }

  isMoved(): boolean {
    return false;
  }

  async readBlob(id: string, offset: number, length: number): Promise<Uint8Array> {
    return this.blobs.get(id)?.subarray(offset, offset + length) ?? new Uint8Array(0);
  }

  async hasBlob(ref: BlobRef): Promise<boolean> {
    return this.blobs.has(ref.id);
  }

  async writeBlob(
    inShard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<BlobRef> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    const bytes = Buffer.concat(parts);
    this.blobs.set(id, bytes);
    return { shard: inShard, id, sizeBytes: bytes.length, sha256: "" };
  }
}

export class TestClock implements Clock {
  now = Date.UTC(2026, 0, 5, 12, 0, 0);
  nowMs(): number {
    return this.now;
  }
  monotonicMs(): number {
    return performance.now();
  }
  after(_delayMs: number, _run: () => void): { cancel(): void } {
    return { cancel: () => undefined };
  }
}

export interface Harness {
  readonly engine: Engine;
  readonly store: LocalMailStore;
  readonly journal: MemoryJournal;
  readonly db: Database;
  readonly clock: TestClock;
  readonly limits: StoreLimits;
}

export function makeDatabase(): Database {
  return new MemoryLevel<Buffer, Buffer>({ keyEncoding: "buffer", valueEncoding: "buffer" });
}

/** A store over `db`; with a journal given, the engine reads its bodies and goes on from it. */
export function makeStore(
  options: {
    readonly db?: Database;
    readonly journal?: MemoryJournal;
    readonly limits?: Partial<StoreLimits>;
    readonly clock?: TestClock;
  } = {},
): Harness {
  const db = options.db ?? makeDatabase();
  const journal = options.journal ?? new MemoryJournal();
  const clock = options.clock ?? new TestClock();
  const limits = { ...defaultStoreLimits, ...options.limits };
  const rows = new WriteQueue(db, {
    bytesMax: limits.queuedBytesMax,
    onFailure: (error) => {
      throw error;
    },
  });
  const engine = new Engine({
    rows,
    clock,
    limits,
    feed: new RegistrationFeed(),
    nextOpId: nextOp,
  });
  journal.apply = engine.apply;
  engine.attach(journal, journal);
  return { engine, store: new LocalMailStore(engine), journal, db, clock, limits };
}

const random = new SeededRandom(7);
export function nextOp(): OpId {
  return opId(random.hex(16));
}
export function change(): { readonly opId: OpId; readonly retry: boolean } {
  return { opId: nextOp(), retry: false };
}

let accountCount = 0;
export async function addAccount(
  harness: Harness,
  options: { readonly quotaBytes?: number; readonly quotaMessages?: number } = {},
): Promise<Principal> {
  const account: AccountId = makeAccountId(shard, ++accountCount);
  await createAccount(
    harness.engine,
    {
      ...change(),
      shard,
      account,
      name: `u${accountCount}@pabal.test`,
      aliases: [],
      credentials: { hash: "x" },
      quotaBytes: options.quotaBytes ?? 0,
      quotaMessages: options.quotaMessages ?? 0,
      profile: {},
      mailboxes: firstMailboxes,
      uidValidityFloor: 0,
    },
    never,
  );
  return { account, shard, credVersion: 1 };
}

export function message(subject: string, body = "Hello\r\n"): Uint8Array {
  return Buffer.from(`From: a@b.test\r\nSubject: ${subject}\r\n\r\n${body}`);
}

export function delivery(who: readonly Principal[], bytes: Uint8Array): DeliverRequest {
  return {
    ...change(),
    shard,
    deliveryId: deliveryId(`7ZZ${random.hex(12).toUpperCase().slice(0, 23)}`),
    recipients: who.map(({ account }) => ({ account })),
    source: { kind: "bytes", bytes },
    index: indexMessage(bytes),
  };
}

/** All parts of a FETCH joined per message, as text. */
export async function fetched(chunks: AsyncIterable<FetchChunk>): Promise<Map<number, string>> {
  const texts = new Map<number, Buffer[]>();
  for await (const chunk of chunks) {
    for (const { uid, bytes } of partsOf(chunk)) {
      const list = texts.get(uid) ?? [];
      list.push(Buffer.from(bytes));
      texts.set(uid, list);
    }
  }
  return new Map(Array.from(texts, ([uid, list]) => [uid, Buffer.concat(list).toString("latin1")]));
}
