// The call SEARCH on the wire, with the orders of SORT and the trees of THREAD. Results are packed
// numbers: ascending ones as gaps, sorted ones as they are, threads as UID and depth by turns.

import type { SearchOutcome, SearchRequest } from "../../mail/mail-store.ts";
import { uidMax } from "../../mail/ids.ts";
import type { SortCriterion, SortKey } from "../../mail/sort-order.ts";
import type { ThreadAlgorithm, Threads } from "../../mail/thread-tree.ts";
import type { ByteWriter } from "../../store/byte-writer.ts";
import { decodeSearchKey, encodeSearchKey } from "./codec-search.ts";
import { asMailboxId, packed, readAscending, writeAscending } from "./codec-values.ts";
import { asArray, asBoolean, asCount, asListOf, asOptional, malformed } from "./decode.ts";
import type { Method } from "./method.ts";
import { WireReader } from "./wire-reader.ts";

const sortKeys: readonly SortKey[] = [
  "arrival",
  "cc",
  "date",
  "from",
  "size",
  "subject",
  "to",
  "displayFrom",
  "displayTo",
];
const threadAlgorithms: readonly ThreadAlgorithm[] = ["orderedSubject", "references"];

/** How results are packed; absent in what older nodes send: ascending. */
const form = { ascending: 0, sorted: 1, threads: 2 } as const;

export const searchMethod: Method<SearchRequest, SearchOutcome> = {
  name: "mail.search",
  large: true,
  encode: ({ mailbox, key, wantModSeq, sort, thread }) => {
    const args = [mailbox, encodeSearchKey(key), wantModSeq ?? null];
    if (sort === undefined && thread === undefined) return { args };
    const algorithm = thread === undefined ? null : threadAlgorithms.indexOf(thread);
    return { args: [...args, sort?.map(encodeCriterion) ?? null, algorithm] };
  },
  decode: (args) => {
    const wantModSeq = asOptional(args[2], "modseq", asBoolean);
    const sort = asOptional(args[3], "sort", (list) => asListOf(list, "sort", decodeCriterion));
    const thread = asOptional(args[4], "thread", decodeAlgorithm);
    return {
      mailbox: asMailboxId(args[0]),
      key: decodeSearchKey(args[1]),
      ...(wantModSeq === undefined ? {} : { wantModSeq }),
      ...(sort === undefined ? {} : { sort }),
      ...(thread === undefined ? {} : { thread }),
    };
  },
  encodeReply: (outcome) => {
    const { uids, highestModSeqOfResults, endModSeqs, threads } = outcome;
    const kind =
      threads !== undefined ? form.threads : isAscending(uids) ? form.ascending : form.sorted;
    return {
      head: [highestModSeqOfResults ?? null, kind, endModSeqs ?? null],
      body: packed((out) => {
        if (threads !== undefined) writeThreads(out, threads);
        else if (kind === form.ascending) writeAscending(out, uids);
        else writeNumbers(out, uids);
      }),
    };
  },
  decodeReply: ({ head, body }) => {
    const [modSeq, kind, ends] = asArray(head, "search outcome");
    const highest = asOptional(modSeq, "modseq", asCount);
    const endModSeqs = asOptional(ends, "modseqs", decodeEnds);
    const reader = new WireReader(body);
    return {
      ...readResults(reader, kind ?? form.ascending),
      ...(highest === undefined ? {} : { highestModSeqOfResults: highest }),
      ...(endModSeqs === undefined ? {} : { endModSeqs }),
    };
  },
};

function readResults(reader: WireReader, kind: unknown): SearchOutcome {
  switch (kind) {
    case form.ascending:
      return { uids: readAscending(reader) };
    case form.sorted:
      return { uids: readNumbers(reader) };
    case form.threads: {
      const threads = readThreads(reader);
      return {
        uids: Uint32Array.from(threads.uids)
          .filter((uid) => uid > 0)
          .sort(),
        threads,
      };
    }
    default:
      throw malformed("search outcome");
  }
}

function encodeCriterion({ key, reverse }: SortCriterion): number {
  return 2 * sortKeys.indexOf(key) + (reverse ? 1 : 0);
}

function decodeCriterion(value: unknown): SortCriterion {
  const code = asCount(value, "sort");
  const key = sortKeys[code >> 1];
  if (key === undefined) throw malformed("sort");
  return { key, reverse: (code & 1) === 1 };
}

function decodeAlgorithm(value: unknown): ThreadAlgorithm {
  const algorithm = threadAlgorithms[asCount(value, "thread")];
  if (algorithm === undefined) throw malformed("thread");
  return algorithm;
}

function decodeEnds(value: unknown): readonly [number, number] {
  const [first, last] = asArray(value, "modseqs");
  return [asCount(first, "modseq"), asCount(last, "modseq")];
}

function isAscending(values: Uint32Array): boolean {
  for (let at = 1; at < values.length; at++) {
    if ((values[at - 1] ?? 0) >= (values[at] ?? 0)) return false;
  }
  return true;
}

function writeNumbers(out: ByteWriter, values: Uint32Array): void {
  out.varint(values.length);
  for (const value of values) out.varint(value);
}

function readNumbers(reader: WireReader): Uint32Array {
  const values = new Uint32Array(reader.count());
  for (let at = 0; at < values.length; at++) values[at] = asCount(reader.varint(), "uid", uidMax);
  return values;
}

function writeThreads(out: ByteWriter, { uids, depths }: Threads): void {
  out.varint(uids.length);
  for (let at = 0; at < uids.length; at++) {
    out.varint(uids[at] ?? 0);
    out.varint(depths[at] ?? 0);
  }
}

function readThreads(reader: WireReader): Threads {
  const count = reader.count();
  const uids = new Uint32Array(count);
  const depths = new Uint32Array(count);
  for (let at = 0; at < count; at++) {
    uids[at] = asCount(reader.varint(), "uid", uidMax);
    depths[at] = reader.varint();
    // Each node is a child of one before it.
    if ((depths[at] ?? 0) > (at === 0 ? 0 : (depths[at - 1] ?? 0) + 1)) throw malformed("threads");
  }
  return { uids, depths };
}
