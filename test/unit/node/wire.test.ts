// Forms of the wire: what is written is read back, what is malformed is refused as INVALID.

import { describe, expect, test } from "vitest";
import fc from "fast-check";
import {
  chunkForm,
  decodeChunk,
  encodeChunk,
  itemBytesMax,
} from "../../../src/cluster/node/codec-fetch.ts";
import { decodeSearchKey, encodeSearchKey } from "../../../src/cluster/node/codec-search.ts";
import {
  decodeUidSet,
  encodeUidSet,
  packed,
  readAscending,
  readFlagStates,
  readRuns,
  writeAscending,
  writeFlagStates,
  writeRuns,
} from "../../../src/cluster/node/codec-values.ts";
import { planShards } from "../../../src/cluster/node/init-cluster.ts";
import { decodeLoad, encodeLoad } from "../../../src/cluster/node/load-figures.ts";
import { Outbox } from "../../../src/cluster/node/outbox.ts";
import { decodeFrame } from "../../../src/cluster/node/replica-wire.ts";
import { WireReader } from "../../../src/cluster/node/wire-reader.ts";
import type { Peer } from "../../../src/cluster/link/rpc.ts";
import { flagsMethod } from "../../../src/cluster/node/method-flags.ts";
import { searchMethod } from "../../../src/cluster/node/method-search.ts";
import { isMailError, MailError } from "../../../src/mail/errors.ts";
import {
  epoch,
  lsn,
  mailboxId,
  memberId,
  modSeq,
  shardId,
  storeId,
  uid,
} from "../../../src/mail/ids.ts";
import type { FetchPart } from "../../../src/mail/fetch-parts.ts";
import { chunkOf, joinedChunks, partsOf } from "../../../src/mail/fetch-parts.ts";
import { uidSetFromSorted } from "../../../src/mail/uid-set.ts";
import type { SearchKey } from "../../../src/mail/search-key.ts";

const uids = fc
  .uniqueArray(fc.integer({ min: 1, max: 0xffff_ffff }), { maxLength: 50 })
  .map((list) => [...list].sort((a, b) => a - b));

describe("values", () => {
  test("uid sets come back", () => {
    fc.assert(
      fc.property(uids, (list) => {
        const set = uidSetFromSorted(list);
        expect(decodeUidSet(encodeUidSet(set))).toEqual(set);
      }),
    );
  });

  test("flag states come back", () => {
    const flags = fc.array(fc.constantFrom("\\Seen", "\\Flagged", "$Work", "하나"), {
      maxLength: 3,
    });
    const states = fc.tuple(uids, fc.array(flags, { minLength: 50, maxLength: 50 }));
    fc.assert(
      fc.property(states, ([list, choices]) => {
        const given = list.map((value, at) => ({
          uid: uid(value),
          modSeq: modSeq(at * 2 ** 40 + 1),
          flags: choices[at] ?? [],
        }));
        const bytes = packed((out) => writeFlagStates(out, given));
        expect(readFlagStates(new WireReader(bytes))).toEqual(given);
      }),
    );
  });

  test("search programs come back", () => {
    const key: SearchKey = {
      kind: "and",
      keys: [
        { kind: "or", a: { kind: "all" }, b: { kind: "not", key: { kind: "body", text: "가" } } },
        { kind: "uid", set: [1, 5, 7, 7] },
        { kind: "flag", flag: "\\Seen", set: false },
        { kind: "header", name: "Subject", text: "" },
        { kind: "text", text: "x" },
        { kind: "date", of: "sent", op: "since", day: -5 },
        { kind: "size", op: "larger", bytes: 10 },
        { kind: "age", op: "older", seconds: 60, nowMs: 1e12 },
        { kind: "modseq", least: 3 },
        { kind: "emailId", id: "M1-2-3" },
        { kind: "threadId", id: "T0" },
      ],
    };
    expect(decodeSearchKey(encodeSearchKey(key))).toEqual(key);
  });

  test("sort orders, thread algorithms and what they found come back", () => {
    const request = { mailbox: mailboxId(7), key: { kind: "all" } } as const;
    const sort = [
      { key: "displayTo", reverse: true },
      { key: "arrival", reverse: false },
    ] as const;
    for (const each of [
      request,
      { ...request, wantModSeq: true },
      { ...request, sort },
      { ...request, thread: "references" as const },
    ]) {
      expect(searchMethod.decode(searchMethod.encode(each).args, undefined)).toEqual(each);
    }
    const found = Uint32Array.from([5, 2, 2 ** 32 - 1, 1]);
    const ends = { highestModSeqOfResults: 9, endModSeqs: [3, 9] as const };
    const threads = {
      uids: Uint32Array.from([0, 2, 1, 4]),
      depths: Uint32Array.from([0, 1, 1, 2]),
    };
    for (const outcome of [
      { uids: found },
      { uids: found.toSorted(), ...ends },
      { uids: Uint32Array.from([1, 2, 4]), threads },
      { uids: new Uint32Array(0) },
    ]) {
      expect(searchMethod.decodeReply(searchMethod.encodeReply(outcome))).toEqual(outcome);
    }
  });

  test("a sort order, thread or outcome that is none is refused", () => {
    const args = [7, encodeSearchKey({ kind: "all" }), null];
    const badThreads = packed((out) => {
      for (const value of [2, 1, 0, 2, 2]) out.varint(value);
    });
    for (const decode of [
      () => searchMethod.decode([...args, [99], null], undefined),
      () => searchMethod.decode([...args, 1, null], undefined),
      () => searchMethod.decode([...args, null, 2], undefined),
      () => searchMethod.decodeReply({ head: [null, 9, null] }),
      () => searchMethod.decodeReply({ head: [null, 2, null], body: badThreads }),
      () => searchMethod.decodeReply({ head: [null, 1, null], body: Uint8Array.of(200, 1) }),
    ]) {
      expect(decode).toThrow(MailError);
    }
  });

  test("load figures come back", () => {
    const figures = { seq: 1, cpuPerMille: 2, queueBytes: 3, fsyncP99Micros: 4 };
    const rest = { diskFreePerMille: 5, users: 6, sessions: 7, ioPerSecond: 8 };
    expect(decodeLoad(encodeLoad({ ...figures, ...rest }))).toEqual({ ...figures, ...rest });
  });

  test("whatever comes is decoded or refused as INVALID, never a crash", () => {
    const refused = (decode: () => unknown): void => {
      try {
        decode();
      } catch (error) {
        if (!isMailError(error, "INVALID")) throw error;
      }
    };
    fc.assert(
      fc.property(fc.anything(), fc.uint8Array({ maxLength: 64 }), (value, bytes) => {
        refused(() => decodeSearchKey(value));
        refused(() => decodeFrame(value, bytes));
        refused(() => decodeLoad(value));
        refused(() => decodeUidSet(bytes));
        refused(() => decodeChunk({ head: value, body: bytes }));
        refused(() => readFlagStates(new WireReader(bytes)));
        refused(() => readRuns(new WireReader(bytes)));
        refused(() => flagsMethod.decodeReply({ head: null, body: bytes }));
      }),
      { numRuns: 500 },
    );
  });
});

describe("columns of numbers", () => {
  const ascending = fc
    .array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.nat(40)), { maxLength: 30 })
    .map((runs) => {
      const all: number[] = [];
      for (const [gap, length] of runs) {
        const from = (all.at(-1) ?? 0) + gap;
        for (let value = from; value <= from + length; value++) all.push(value);
      }
      return Uint32Array.from(all);
    });

  test("that ascend come back from runs and from gaps, and runs without gaps are a few bytes", () => {
    fc.assert(
      fc.property(ascending, (values) => {
        const runs = packed((out) => writeRuns(out, values));
        expect(readRuns(new WireReader(runs))).toEqual(values);
        const gaps = packed((out) => writeAscending(out, values));
        expect(readAscending(new WireReader(gaps))).toEqual(values);
      }),
    );
    const million = Uint32Array.from({ length: 1_000_000 }, (_, at) => at + 7);
    expect(packed((out) => writeRuns(out, million)).length).toBeLessThan(10);
  });

  test("of runs that claim more than they have are refused", () => {
    for (const numbers of [
      [5, 1, 3],
      [2, 1, 2],
      [1, 0, 0],
      [3, 1, 0, 1, 2],
      [134_217_728, 1],
      [134_217_729, 1, 134_217_728],
    ]) {
      const bytes = packed((out) => numbers.forEach((number) => out.varint(number)));
      expect(() => readRuns(new WireReader(bytes))).toThrow(
        expect.objectContaining({ code: "INVALID" }),
      );
    }
  });

  test("and flags come back", () => {
    const columns = fc
      .record({ uids: ascending, wantModSeqs: fc.boolean(), step: fc.integer({ min: 1, max: 9 }) })
      .map(({ uids, wantModSeqs, step }) => ({
        uids,
        lists: [[], ["\\Seen"], ["\\Seen", "$Label1"], ["\\Flagged"]],
        which: Uint32Array.from(uids, (uid, at) => (uid * step + (at >> 3)) % 4),
        modSeqs: Float64Array.from(wantModSeqs ? uids : [], (uid) => (uid * 2 ** 33) % 1_000_003),
      }));
    fc.assert(
      fc.property(columns, (value) => {
        expect(flagsMethod.decodeReply(flagsMethod.encodeReply(value))).toEqual(value);
      }),
    );
  });
});

describe("fetch chunks", () => {
  const forms = Object.entries(chunkForm);

  test.each(forms)(
    "come back as the same bytes per message, in items below the limit: %s",
    (_, form) => {
      const lengths = fc.array(fc.integer({ min: 0, max: 700_000 }), { maxLength: 6 });
      fc.assert(
        fc.property(lengths, (sizes) => {
          const parts = sizes.map((size, at) => ({
            uid: uid(at + 1),
            bytes: Buffer.alloc(size, at),
            more: false,
          }));
          const back: FetchPart[] = [];
          for (const item of encodeChunk(chunkOf(parts), form)) {
            expect(item.body?.byteLength ?? 0).toBeLessThanOrEqual(itemBytesMax);
            back.push(...partsOf(decodeChunk(item)));
          }
          const whole = parts.map(({ uid: of }) => back.filter((part) => part.uid === of));
          whole.forEach((pieces, at) => {
            expect(pieces.map(({ more }) => more).indexOf(false)).toBe(pieces.length - 1);
            const bytes = Buffer.concat(pieces.map((piece) => piece.bytes));
            expect(bytes.equals(parts[at]?.bytes ?? Buffer.alloc(0))).toBe(true);
          });
        }),
        { numRuns: 30 },
      );
    },
  );

  test.each(forms)("say that a message goes on, and where its sections begin: %s", (_, form) => {
    const first = { uid: uid(3), bytes: Buffer.from("UID 3"), more: false };
    const cut = { uid: uid(9), bytes: Buffer.from("UID 9 BODY[] {9}"), more: true, sectionsAt: 5 };
    const chunk = chunkOf([first, cut]);
    const [item, ...others] = [...encodeChunk(chunk, form)];
    expect(others).toEqual([]);
    expect(decodeChunk(item ?? { head: null })).toEqual(chunk);
    expect(partsOf(chunk)).toEqual([first, cut]);
  });

  test("that follow one another are one, each message once", () => {
    const parts = ["UID 4 a", "UID 5 BODY[] {6}", "abc", "def", "UID 7"];
    const uids = [4, 5, 5, 5, 7];
    const chunks = parts.map((text, at) => {
      const more = at === 1 || at === 2;
      const part = { uid: uid(uids[at] ?? 0), bytes: Buffer.from(text), more };
      return chunkOf([at === 1 ? { ...part, sectionsAt: 5 } : part]);
    });
    const whole = joinedChunks(chunks);
    expect([...whole.uids]).toEqual([4, 5, 7]);
    const texts = partsOf(whole).map(({ bytes }) => Buffer.from(bytes).toString());
    expect(texts).toEqual(["UID 4 a", "UID 5 BODY[] {6}abcdef", "UID 7"]);
    expect(partsOf(whole).some(({ more }) => more)).toBe(false);
    const cut = joinedChunks(chunks.slice(0, 3));
    expect(cut).toMatchObject({ more: true, sectionsAt: 5 });
  });
});

describe("the outbox", () => {
  function outbox() {
    const frames: { head: unknown; body: Uint8Array | undefined }[] = [];
    const peer = {
      send: (_method: string, head: unknown, body?: Uint8Array) => frames.push({ head, body }),
    };
    return { frames, outbox: new Outbox(peer as unknown as Peer) };
  }
  const base = { epoch: epoch(1), fromInc: 2, toInc: 3, tail: false };
  const entries = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, at) => ({
      lsn: lsn(at + 1),
      hash: 100 + at + 1,
      parts: [Buffer.alloc(bytes, at), Buffer.alloc(1, 255)],
    }));

  test("all of a tick goes into one frame", () => {
    const { frames, outbox: box } = outbox();
    const at = { prevLsn: lsn(0), prevHash: 100, mark: lsn(0) };
    box.addAppend("append", shardId(1), base, at, entries(3, 10));
    box.add(shardId(2), { kind: "ack", ...base, lsn: lsn(5), hash: 7, mark: lsn(4) });
    box.flush();
    box.flush();
    expect(frames).toHaveLength(1);
    const [first, second] = decodeFrame(frames[0]?.head, frames[0]?.body);
    expect(first?.message).toMatchObject({ kind: "append", prevLsn: 0, prevHash: 100 });
    expect(second).toMatchObject({ shard: 2, message: { kind: "ack", lsn: 5, hash: 7, mark: 4 } });
  });

  test("a long run is split, and each part says what it follows", () => {
    const { frames, outbox: box } = outbox();
    const at = { prevLsn: lsn(0), prevHash: 100, mark: lsn(0) };
    box.addAppend("append", shardId(1), base, at, entries(10, 300_000));
    box.flush();
    expect(frames.length).toBeGreaterThan(3);
    let next = 0;
    for (const { head, body } of frames) {
      expect(body?.byteLength ?? 0).toBeLessThan(1_000_000);
      for (const { message } of decodeFrame(head, body)) {
        if (message.kind !== "append") throw new Error("not an append");
        expect(message).toMatchObject({ prevLsn: next, prevHash: 100 + next });
        next += message.records.length;
      }
    }
    expect(next).toBe(10);
  });
});

describe("the first shard table", () => {
  const node = (name: string, failureDomain = name) => ({
    node: memberId(name),
    store: storeId(name.padEnd(32, "0")),
    failureDomain,
  });

  test("spreads ordered pairs evenly", () => {
    const nodes = ["n1", "n2", "n3", "n4"].map((name) => node(name));
    const plan = planShards({ clusterId: "c", nodes, nonce: "x", shardsPerNode: 15 });
    const pairs = new Map<string, number>();
    for (const { primary, secondaries } of plan) {
      const pair = `${primary.node} ${secondaries[0]?.node}`;
      pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    }
    expect(pairs.size).toBe(12);
    expect(new Set(pairs.values())).toEqual(new Set([5]));
  });

  test("never puts two copies into one failure domain unless allowed", () => {
    const nodes = [node("n1", "a"), node("n2", "a"), node("n3", "b")];
    for (const { primary, secondaries } of planShards({ clusterId: "c", nodes, nonce: "x" })) {
      const domains = [primary, ...secondaries].map(
        (copy) => nodes.find((one) => one.node === copy.node)?.failureDomain,
      );
      expect(new Set(domains).size).toBe(2);
    }
    const together = [node("n1", "a"), node("n2", "a")];
    const options = { clusterId: "c", nodes: together, nonce: "x" };
    expect(() => planShards(options)).toThrow("another failure domain");
    expect(planShards({ ...options, sameDomainAllowed: true })).toHaveLength(32);
    // Allowed is not wanted: where there is another one, it is taken.
    for (const { primary, secondaries } of planShards({
      ...options,
      nodes,
      sameDomainAllowed: true,
    })) {
      const inB = [primary, ...secondaries].filter((copy) => copy.node === "n3");
      expect(inB).toHaveLength(1);
    }
  });

  test("one node alone needs minCopies 1", () => {
    const options = { clusterId: "c", nodes: [node("n1")], nonce: "x" };
    expect(() => planShards(options)).toThrow("another failure domain");
    expect(planShards({ ...options, minCopies: 1 })).toHaveLength(16);
  });
});
