// A member's read state: what STORE and EXPUNGE make of it against a plain model, what "changed since"
// tells, and its bytes.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { joinViewModSeq, splitViewModSeq } from "../../../src/mail/group.ts";
import { decodeReadState, encodeReadState } from "../../../src/mail/read-state-codec.ts";
import {
  changedSince,
  changesMax,
  flagsOf,
  hide,
  lastChangeOf,
  newReadState,
  setFlags,
  trimmed,
  withFlag,
} from "../../../src/mail/read-state.ts";
import type { ReadState } from "../../../src/mail/read-state.ts";
import { uidSetFromSorted, uidSetHas } from "../../../src/mail/uid-set.ts";
import {
  uidSetDifference,
  uidSetIntersection,
  uidSetUnion,
  uidsIn,
} from "../../../src/mail/uid-set-algebra.ts";

const uidList = fc
  .uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 20 })
  .map((uids) => uids.toSorted((a, b) => a - b));
const flag = fc.constantFrom("\\Seen", "\\Flagged", "\\Deleted", "$Todo", "$todo", "Work");

describe("sets of UIDs", () => {
  it("union, intersection and difference are those of plain sets", () => {
    fc.assert(
      fc.property(uidList, uidList, (a, b) => {
        const [left, right] = [uidSetFromSorted(a), uidSetFromSorted(b)];
        expect([...uidsIn(uidSetUnion(left, right))]).toEqual(
          [...new Set([...a, ...b])].toSorted((x, y) => x - y),
        );
        expect([...uidsIn(uidSetIntersection(left, right))]).toEqual(
          a.filter((uid) => b.includes(uid)),
        );
        expect([...uidsIn(uidSetDifference(left, right))]).toEqual(
          a.filter((uid) => !b.includes(uid)),
        );
      }),
    );
  });
});

type Step =
  | { kind: "flags"; uids: number[]; mode: "add" | "remove" | "replace"; flags: string[] }
  | { kind: "hide"; uids: number[] };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("flags" as const),
    uids: uidList,
    mode: fc.constantFrom("add" as const, "remove" as const, "replace" as const),
    flags: fc.array(flag, { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant("hide" as const), uids: uidList }),
);

/** Plain flags by message, and the count at which each message changed last. */
class Model {
  readonly flags = new Map<number, Set<string>>();
  readonly hidden = new Set<number>();
  readonly changedAt = new Map<number, number>();
  own = 0;

  run(one: Step): void {
    const touched = one.uids
      .filter((uid) => !this.hidden.has(uid))
      .filter((uid) => {
        if (one.kind === "hide") {
          this.hidden.add(uid);
          this.flags.delete(uid);
          return true;
        }
        const before = this.flags.get(uid) ?? new Set<string>();
        const named = one.flags.map((name) => name.toLowerCase());
        const after = new Set(
          one.mode === "add"
            ? [...before, ...named]
            : one.mode === "remove"
              ? [...before].filter((name) => !named.includes(name))
              : named,
        );
        this.flags.set(uid, after);
        return after.size !== before.size || [...after].some((name) => !before.has(name));
      });
    if (touched.length === 0) return;
    this.own++;
    for (const uid of touched) this.changedAt.set(uid, this.own);
  }
}

function apply(state: ReadState, one: Step, group: number): ReadState {
  const uids = uidSetDifference(uidSetFromSorted(one.uids), state.hidden);
  return one.kind === "hide"
    ? hide(state, uids, group).state
    : setFlags(state, { uids, mode: one.mode, flags: one.flags, group }).state;
}

describe("a member's read state", () => {
  it("is what a plain model is, and so are its bytes", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 90 }), (steps) => {
        const model = new Model();
        let state = newReadState(7);
        steps.forEach((one, at) => {
          model.run(one);
          state = apply(state, one, at + 1);
          expect(state.own).toBe(model.own);
        });
        expect(decodeReadState(encodeReadState(state))).toEqual(state);
        expect(state.changes.length).toBeLessThanOrEqual(changesMax);
        for (let uid = 1; uid <= 60; uid++) {
          const flags = flagsOf(state, uid).map((name) => name.toLowerCase());
          expect(flags.toSorted()).toEqual([...(model.flags.get(uid) ?? [])].toSorted());
          expect(uidSetHas(state.hidden, uid)).toBe(model.hidden.has(uid));
          const last = model.changedAt.get(uid);
          // Never told too early; joined ones a little late.
          if (last === undefined) expect(lastChangeOf(state, uid)).toBeUndefined();
          else expect(lastChangeOf(state, uid)?.own).toBeGreaterThanOrEqual(last);
        }
        for (let own = 0; own <= model.own; own++) {
          const told = changedSince(state, own);
          for (const [uid, at] of model.changedAt) {
            if (at > own) expect(uidSetHas(told, uid)).toBe(true);
          }
        }
        expect(changedSince(state, state.own)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it("leaves messages alone that were changed since, and says which", () => {
    const one = setFlags(newReadState(1), {
      uids: [1, 5],
      mode: "add",
      flags: ["\\Seen"],
      group: 3,
    });
    const two = setFlags(one.state, { uids: [2, 2], mode: "add", flags: ["$A"], group: 3 });
    const three = setFlags(two.state, {
      uids: [1, 3],
      mode: "remove",
      flags: ["\\Seen"],
      unchangedSince: 1,
      group: 3,
    });
    expect(three.modified).toEqual([2, 2]);
    expect(three.changed).toEqual([1, 1, 3, 3]);
    expect(withFlag(three.state, "\\seen")).toEqual([2, 2, 4, 5]);
  });

  it("is trimmed below the oldest message that the group has", () => {
    let state = newReadState(1);
    state = setFlags(state, { uids: [1, 9], mode: "add", flags: ["\\Seen"], group: 1 }).state;
    state = hide(state, [2, 7], 1).state;
    const after = trimmed(state, 6);
    expect(withFlag(after, "\\Seen")).toEqual([8, 9]);
    expect(after.hidden).toEqual([6, 7]);
    expect(after.own).toBe(state.own);
  });

  it("takes 6 bytes of flags when all is read, and 10,000 random messages 1,250 or a few more", () => {
    const all = setFlags(newReadState(1), {
      uids: [1, 10_000],
      mode: "add",
      flags: ["\\Seen"],
      group: 1,
    }).state;
    expect(encodeReadState({ ...all, changes: [] }).length).toBeLessThan(24);
    const odd = uidSetFromSorted(
      Array.from({ length: 10_000 }, (_, at) => at + 1).filter((uid) => (uid * 7919) % 13 < 6),
    );
    const some = { ...newReadState(1), flags: [{ flag: "\\Seen", uids: odd }] };
    expect(encodeReadState(some).length).toBeLessThan(1300);
    expect(decodeReadState(encodeReadState(some))).toEqual(some);
  });

  it("refuses bytes that were cut", () => {
    const state = hide(newReadState(9), [3, 4], 2).state;
    const bytes = encodeReadState(state);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeReadState(bytes.subarray(0, length))).toThrow("DAMAGED");
    }
  });
});

describe("a view's MODSEQ", () => {
  it("can be taken apart and grows with either part", () => {
    const part = fc.record({
      group: fc.integer({ min: 0, max: 2 ** 24 - 1 }),
      own: fc.integer({ min: 0, max: 2 ** 29 - 1 }),
    });
    fc.assert(
      fc.property(part, (seq) => {
        const value = joinViewModSeq(seq);
        expect(Number.isSafeInteger(value)).toBe(true);
        expect(splitViewModSeq(value)).toEqual(seq);
      }),
    );
    expect(joinViewModSeq({ group: 2, own: 1 })).toBeGreaterThan(
      joinViewModSeq({ group: 1, own: 2 ** 29 - 1 }),
    );
  });
});
