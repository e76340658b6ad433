// Rendered FETCH answers of a group's messages without flags and MODSEQ: these never change, so what
// one member asked for the next one gets from memory. What members have of their own is put in by
// view-fetch.ts.

import { Lru } from "../../lib/lru.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { partsOf } from "../../mail/fetch-parts.ts";
import type { FetchPart } from "../../mail/fetch-parts.ts";
import type { FetchItems, MailStore } from "../../mail/mail-store.ts";
import { uid as asUid } from "../../mail/ids.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";
import { principalOf } from "./group-index.ts";
import type { GroupIndex } from "./group-index.ts";

/** One message's answer larger than this is handed on and not kept. */
const textBytesMax = 1024 * 1024;
/** About what an entry costs besides its bytes. */
const entryBytes = 200;
const chunkParts = 64;

export class GroupTexts {
  readonly #store: MailStore;
  readonly #kept: Lru<string, Uint8Array>;
  hits = 0;
  misses = 0;

  constructor(store: MailStore, bytesMax: number) {
    this.#store = store;
    this.#kept = new Lru(bytesMax);
  }

  get bytes(): number {
    return this.#kept.bytes;
  }

  /** Answers for `uids` (ascending), those that are gone left out. `items` has neither flags nor MODSEQ. */
  async *fetch(
    row: DirectoryRow,
    index: GroupIndex,
    uids: readonly number[],
    items: FetchItems,
    signal: AbortSignal,
  ): AsyncGenerator<readonly FetchPart[], void, undefined> {
    const prefix = `${row.account}.${index.uidValidity}.${JSON.stringify(items)}.`;
    for (let from = 0; from < uids.length; from += chunkParts) {
      const some = uids.slice(from, from + chunkParts);
      const missing = some.filter((uid) => this.#kept.peek(prefix + uid) === undefined);
      this.hits += some.length - missing.length;
      this.misses += missing.length;
      if (missing.length === 0) yield this.#partsOf(prefix, some);
      else yield* this.#asked(row, index, prefix, some, missing, items, signal);
    }
  }

  /** Those that are missing come from the group's node, the others in between them from memory. */
  async *#asked(
    row: DirectoryRow,
    { mailbox }: GroupIndex,
    prefix: string,
    uids: readonly number[],
    missing: readonly number[],
    items: FetchItems,
    signal: AbortSignal,
  ): AsyncGenerator<readonly FetchPart[], void, undefined> {
    const request = { mailbox, uids: uidSetFromSorted(missing), items };
    const rest = uids.filter((uid) => !missing.includes(uid));
    let continued = false;
    for await (const chunk of this.#store.fetch(principalOf(row), request, signal)) {
      const out: FetchPart[] = [];
      for (const part of partsOf(chunk)) {
        while (!continued && (rest[0] ?? Number.POSITIVE_INFINITY) < part.uid) {
          out.push(...this.#partsOf(prefix, rest.splice(0, 1)));
        }
        if (!continued && !part.more) this.#keep(prefix, part);
        continued = part.more;
        out.push(part);
      }
      yield out;
    }
    if (rest.length > 0) yield this.#partsOf(prefix, rest);
  }

  #partsOf(prefix: string, uids: readonly number[]): FetchPart[] {
    return uids.flatMap((uid) => {
      const bytes = this.#kept.get(prefix + uid);
      return bytes === undefined ? [] : [{ uid: asUid(uid), bytes, more: false }];
    });
  }

  #keep(prefix: string, { uid, bytes }: FetchPart): void {
    if (bytes.byteLength > textBytesMax) return;
    // A copy: the bytes may be a piece of a frame.
    // The key counts, too: a client may name fields at any length, and get a few bytes for it.
    const cost = bytes.byteLength + 2 * prefix.length + entryBytes;
    this.#kept.set(prefix + uid, Uint8Array.from(bytes), cost);
  }
}
