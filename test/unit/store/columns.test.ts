// Columns: what is removed is gone, whole rows move, and views of the UIDs that were handed out stay.

import fc from "fast-check";
import { expect, test } from "vitest";
import { Columns } from "../../../src/store/columns.ts";
import type { MessageRow } from "../../../src/store/entry-kind.ts";

function rowOf(uid: number): MessageRow {
  return {
    uid,
    modSeq: uid * 2 ** 33 + 1,
    flags: uid % 7,
    size: uid * 3,
    date: uid * 5,
    zone: -uid % 700,
    saved: uid * 11,
    bodyTag: uid * 13,
    bodyLsn: uid * 2 ** 34,
  };
}

function placeOf(uid: number) {
  return { segment: uid, offset: uid + 1, bodyOffset: uid + 2, bodyBytes: uid + 3 };
}

test("rows that are left are as they were, in their order", () => {
  const uids = fc
    .array(fc.integer({ min: 1, max: 40 }), { maxLength: 300 })
    .map((gaps) => gaps.reduce<number[]>((all, gap) => [...all, (all.at(-1) ?? 0) + gap], []));
  const removals = fc.array(
    fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 9 })),
    { maxLength: 6 },
  );
  const property = fc.property(uids, removals, fc.boolean(), (all, runs, shared) => {
    const columns = new Columns();
    for (const uid of all) columns.put(rowOf(uid));
    all.forEach((uid, at) => columns.setPlace(at, placeOf(uid)));
    let left = all;
    for (const [from, length, step] of runs) {
      const gone = [
        ...left.slice(from, from + length * step).filter((_, at) => at % step === 0),
        (left.at(-1) ?? 0) + 5,
      ];
      const view = shared ? columns.uids() : undefined;
      const before = left;
      columns.remove(gone);
      left = left.filter((uid) => !gone.includes(uid));
      if (view !== undefined) expect([...view]).toEqual(before);
      expect(columns.count).toBe(left.length);
      left.forEach((uid, at) => {
        expect(columns.row(at)).toEqual(rowOf(uid));
        expect(columns.placeOf(at)).toEqual(placeOf(uid));
      });
    }
  });
  fc.assert(property, { numRuns: 200 });
});
