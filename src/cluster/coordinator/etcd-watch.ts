// A gap-free watch on etcd's own stream: resumes behind the last transaction after a broken stream,
// and tells the difference when etcd has compacted what lies between.

import type { Etcd3, IEvent, IKeyValue, IWatchResponse } from "etcd3";
import { BoundedQueue } from "../../lib/bounded-queue.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { KeyChange } from "./coordinator.ts";
import { isRevisionGone } from "./etcd-client.ts";
import type { EtcdClient } from "./etcd-client.ts";

const responsesMax = 1000;

/** What one watch is of: keys of etcd that begin with `prefix`, named without `namespace`. */
export interface EtcdPrefix {
  readonly namespace: string;
  readonly prefix: string;
}

export interface EtcdListing {
  readonly revision: number;
  readonly pairs: readonly { readonly key: string; readonly pair: IKeyValue }[];
}

/** All keys of `of` at one revision: the newest, or `at`. @throws when etcd has no such revision. */
export async function listPrefix(
  client: EtcdClient,
  of: EtcdPrefix,
  limitMs: number,
  at?: number,
): Promise<EtcdListing> {
  const { key, end } = rangeOf(of);
  const request = { key, range_end: end, ...(at === undefined ? {} : { revision: at }) };
  const { header, kvs } = await client.repeat(({ kv }) => kv.range(request), limitMs);
  const pairs = kvs.map((pair) => ({ key: nameOf(of, pair), pair }));
  return { revision: Number(header.revision), pairs };
}

/** As `Coordinator.watch`. */
export async function* watchPrefix(
  client: EtcdClient,
  of: EtcdPrefix,
  fromRevision: number,
  signal: AbortSignal,
): AsyncGenerator<KeyChange, void, undefined> {
  const known = new Set<string>();
  let at = fromRevision;
  let behind = fromRevision === 0;
  if (!behind) await learnKeys(client, of, fromRevision, known, signal);
  while (!signal.aborted && !client.closed) {
    try {
      if (behind) {
        const listing = await listPrefix(client, of, client.limit());
        yield* grouped(difference(listing, known, at));
        at = listing.revision;
        behind = false;
      }
      for await (const response of responses(client, of, at + 1, signal)) {
        behind = response.canceled;
        if (behind) break;
        yield* grouped(response.events.map((event) => changeOf(of, event, known)));
        at = Math.max(at, newest(response.events));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isMailError(error, "UNAVAILABLE")) throw error;
    }
    if (!signal.aborted) await client.pause();
  }
}

/** The keys that were there at `at`, so that a compaction later can be told as deletions. */
async function learnKeys(
  client: EtcdClient,
  of: EtcdPrefix,
  at: number,
  known: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const { pairs } = await listPrefix(client, of, client.limit(), at);
      for (const { key } of pairs) known.add(key);
      return;
    } catch (error) {
      if (isRevisionGone(error)) {
        const why = "watch from a revision that is compacted or does not exist";
        throw new MailError({ code: "CONFLICT", why }, { cause: error });
      }
      if (!isMailError(error, "UNAVAILABLE") || client.closed) throw error;
    }
  }
}

async function* responses(
  client: EtcdClient,
  of: EtcdPrefix,
  startRevision: number,
  signal: AbortSignal,
): AsyncGenerator<IWatchResponse, void, undefined> {
  const queue = new BoundedQueue<IWatchResponse>(responsesMax);
  const end = (): void => queue.close();
  const { stream, from } = await client.once(async (etcd: Etcd3) => ({
    stream: await etcd.watchClient.watch(),
    from: etcd,
  }));
  const off = client.onDrop(end);
  stream
    .on("data", (response) => {
      // Too slow a reader starts again behind what it has read.
      if (!response.created && !queue.push(response)) end();
      else if (response.created && response.canceled) queue.push(response);
    })
    .on("error", () => {
      end();
      client.drop(from);
    })
    .on("end", end);
  try {
    const { key, end: rangeEnd } = rangeOf(of);
    stream.write({
      create_request: { key, range_end: rangeEnd, start_revision: startRevision },
    });
    for await (const response of queue.items(signal)) yield response;
  } finally {
    off();
    stream.cancel();
  }
}

function difference(listing: EtcdListing, known: Set<string>, after: number): KeyChange[] {
  const present = new Set(listing.pairs.map(({ key }) => key));
  const changed = listing.pairs
    .filter(({ pair }) => Number(pair.mod_revision) > after)
    .map(({ key, pair }) => ({
      key,
      value: pair.value.toString("utf8"),
      revision: Number(pair.mod_revision),
      more: false,
    }));
  const gone = [...known].filter((key) => !present.has(key));
  known.clear();
  for (const key of present) known.add(key);
  const { revision } = listing;
  return [
    ...changed.toSorted((a, b) => a.revision - b.revision),
    ...gone.map((key) => ({ key, value: undefined, revision, more: false })),
  ];
}

function changeOf(of: EtcdPrefix, event: IEvent, known: Set<string>): KeyChange {
  const { kv, type } = event;
  const key = nameOf(of, kv);
  const gone = type === "Delete" || String(type) === "DELETE";
  if (gone) known.delete(key);
  else known.add(key);
  const value = gone ? undefined : kv.value.toString("utf8");
  return { key, value, revision: Number(kv.mod_revision), more: false };
}

/** Marks what belongs to the transaction of the item before. */
function grouped(changes: readonly KeyChange[]): KeyChange[] {
  return changes.map((change, index) => ({
    ...change,
    more: changes[index + 1]?.revision === change.revision,
  }));
}

function newest(events: readonly IEvent[]): number {
  return events.reduce((most, { kv }) => Math.max(most, Number(kv.mod_revision)), 0);
}

function nameOf({ namespace }: EtcdPrefix, pair: IKeyValue): string {
  return pair.key.toString("utf8").slice(namespace.length);
}

/** etcd's range of all keys with a prefix: up to the prefix with its last byte one greater. */
function rangeOf({ namespace, prefix }: EtcdPrefix): {
  readonly key: Buffer;
  readonly end: Buffer;
} {
  const key = Buffer.from(namespace + prefix, "utf8");
  const end = Buffer.from(key);
  const last = end.length - 1;
  end.writeUInt8((end.at(last) ?? 0) + 1, last);
  return { key, end };
}
