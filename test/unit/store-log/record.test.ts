import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { epoch, lsn, opId, shardId } from "../../../src/mail/ids.ts";
import {
  chainHash,
  contentIntact,
  decodeEntry,
  decodeHeader,
  encodeRecord,
  headerBytes,
  recordType,
  type RecordFields,
} from "../../../src/store/log/record.ts";
import {
  decodeSegmentHeader,
  encodeGroup,
  encodeSegmentHeader,
  isGroupAt,
} from "../../../src/store/log/segment-file.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../../src/store/log/checkpoint-file.ts";
import { newShard } from "../../../src/store/log/shard-table.ts";
import { store } from "./harness.ts";

const u48 = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const fields: fc.Arbitrary<RecordFields> = fc.record({
  type: fc.constant(recordType.entry),
  shard: fc.integer({ min: 0, max: 4095 }).map(shardId),
  kind: fc.integer({ min: 0, max: 0xffff }),
  epoch: u48.map(epoch),
  lsn: u48.map(lsn),
  commitMark: u48.map(lsn),
  opId: fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((b) => opId(Buffer.from(b).toString("hex"))),
  prevHash: fc.maxSafeNat(),
});
const bytes = fc.uint8Array({ maxLength: 300 });

describe("a record", () => {
  test("is decoded to what was encoded", () => {
    fc.assert(
      fc.property(fields, bytes, bytes, (given, head, body) => {
        const record = Buffer.concat([encodeRecord(given, head, body), body]);
        const entry = decodeEntry(record);
        expect(entry).toMatchObject({
          shard: given.shard,
          lsn: given.lsn,
          epoch: given.epoch,
          opId: given.opId,
          kind: given.kind,
          commitMark: given.commitMark,
          prevHash: given.prevHash,
        });
        expect(Buffer.from(entry?.head ?? [])).toEqual(Buffer.from(head));
        expect(Buffer.from(entry?.body ?? [])).toEqual(Buffer.from(body));
        expect(Number.isSafeInteger(entry?.hash)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test("with any bit flipped is refused", () => {
    fc.assert(
      fc.property(fields, bytes, bytes, fc.nat(), (given, head, body, where) => {
        const record = Buffer.concat([encodeRecord(given, head, body), body]);
        const bit = where % (record.byteLength * 8);
        record[bit >> 3] = (record[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(decodeEntry(record)).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });

  test("with a flipped bit in its body still says whose it is", () => {
    const given = fc.sample(fields, 1)[0];
    if (given === undefined) throw new Error("a sample is given");
    const body = Buffer.from("body");
    const record = Buffer.concat([encodeRecord(given, Buffer.from("head"), body), body]);
    record[record.byteLength - 1] = 0;
    const header = decodeHeader(record, 0);
    expect(header).toMatchObject({ shard: given.shard, lsn: given.lsn });
    expect(contentIntact(record, 0, record.byteLength)).toBe(false);
  });

  test("cut short, or with bytes behind it, is refused", () => {
    const given = fc.sample(fields, 1)[0];
    if (given === undefined) throw new Error("a sample is given");
    const record = encodeRecord(given, Buffer.from("head"));
    for (let length = 0; length < record.byteLength; length++) {
      expect(decodeEntry(record.subarray(0, length))).toBeUndefined();
    }
    expect(decodeEntry(Buffer.concat([record, Buffer.of(0)]))).toBeUndefined();
    expect(decodeHeader(record, record.byteLength - headerBytes + 1)).toBe("short");
  });

  test("hashes differ when anything before them differs", () => {
    const seen = new Set<number>();
    fc.assert(
      fc.property(fields, bytes, (given, head) => {
        const record = encodeRecord(given, head);
        const again = encodeRecord({ ...given, prevHash: (given.prevHash + 1) % 2 ** 53 }, head);
        expect(chainHash(record, 0)).not.toBe(chainHash(again, 0));
        seen.add(chainHash(record, 0));
      }),
      { numRuns: 500 },
    );
    expect(seen.size).toBeGreaterThan(450);
  });
});

describe("a segment's header", () => {
  const header = {
    segment: 3,
    storeId: store,
    createdMs: 1_700_000_000_123,
    salt: Buffer.alloc(16, 5),
  };

  test("is decoded to what was encoded", () => {
    const decoded = decodeSegmentHeader(encodeSegmentHeader(header));
    expect(decoded).toEqual({ ...header, salt: Uint8Array.from(header.salt) });
  });

  test("with any byte changed is refused", () => {
    for (let at = 0; at < 64; at++) {
      const encoded = encodeSegmentHeader(header);
      encoded[at] = (encoded[at] ?? 0) ^ 0x40;
      expect(decodeSegmentHeader(encoded)).toBeUndefined();
    }
  });

  test("a group record counts only at its own place in its own segment", () => {
    const group = encodeGroup(header.salt, { segment: 3, offset: 640 });
    expect(isGroupAt(group, 0, header.salt, { segment: 3, offset: 640 })).toBe(true);
    expect(isGroupAt(group, 0, header.salt, { segment: 3, offset: 641 })).toBe(false);
    expect(isGroupAt(group, 0, Buffer.alloc(16, 6), { segment: 3, offset: 640 })).toBe(false);
  });
});

describe("CHECKPOINT", () => {
  const checkpoint = {
    from: { segment: 1, offset: 64 },
    asOf: { segment: 2, offset: 99 },
    shards: [{ ...newShard(shardId(7)), config: Uint8Array.of(1, 2) }],
  };

  test("is decoded to what was encoded", () => {
    expect(decodeCheckpoint(encodeCheckpoint(checkpoint))).toEqual(checkpoint);
  });

  test("with any byte changed is DAMAGED", () => {
    const { byteLength } = encodeCheckpoint(checkpoint);
    for (let at = 0; at < byteLength; at++) {
      const encoded = encodeCheckpoint(checkpoint);
      encoded[at] = (encoded[at] ?? 0) ^ 1;
      expect(() => decodeCheckpoint(encoded)).toThrow("DAMAGED");
    }
  });
});
