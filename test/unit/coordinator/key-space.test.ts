// The coordinator's state in RAM against a simple model: a watcher that follows it, from wherever it
// begins and however often it breaks off, ends with the same keys.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KeySpace } from "../../../src/cluster/coordinator/key-space.ts";
import type { KeyChange } from "../../../src/cluster/coordinator/coordinator.ts";

const limits = { historyMax: 4, deletedMax: 6 };
const key = fc.constantFrom("a/1", "a/2", "a/3", "b/1", "b/2");
const transactions = fc.array(
  fc.uniqueArray(fc.tuple(key, fc.option(fc.string({ maxLength: 3 }), { nil: null })), {
    minLength: 1,
    maxLength: 3,
    selector: ([name]) => name,
  }),
  { maxLength: 40 },
);

function follow(known: Map<string, string>, changes: readonly KeyChange[]): void {
  for (const { key: name, value } of changes) {
    if (value === undefined) known.delete(name);
    else known.set(name, value);
  }
}

function present(space: KeySpace, prefix: string): Map<string, string> {
  return new Map(space.list(prefix).entries.map((entry) => [entry.key, entry.value]));
}

describe("a watcher", () => {
  test("that looks now and then ends with the keys there are", () => {
    fc.assert(
      fc.property(transactions, fc.array(fc.boolean(), { maxLength: 40 }), (all, looks) => {
        const space = new KeySpace(limits);
        const known = new Map<string, string>();
        let upTo = 0;
        for (const [index, changes] of [...all, []].entries()) {
          if (changes.length > 0) space.apply({ revision: index + 1, changes });
          if (looks[index] === false && changes.length > 0) continue;
          const news = space.since("a/", upTo);
          follow(known, news.changes);
          upTo = news.upTo;
        }
        expect(known).toEqual(present(space, "a/"));
      }),
    );
  });

  test("inside the kept history gets every single change, in order", () => {
    fc.assert(
      fc.property(transactions, (all) => {
        const space = new KeySpace(limits);
        all.forEach((changes, index) => space.apply({ revision: index + 1, changes }));
        const from = Math.max(1, all.length - limits.historyMax);
        if (all.length === 0) return;
        const got = space.since("", from).changes.map((change) => [change.key, change.value]);
        const wanted = all.slice(from).flat();
        expect(got).toEqual(wanted.map(([name, value]) => [name, value ?? undefined]));
      }),
    );
  });

  test("from before forgotten deletions is refused rather than misled", () => {
    const space = new KeySpace(limits);
    let revision = 0;
    for (let n = 0; n < 20; n++) {
      for (const value of ["x", null]) {
        revision += 1;
        space.apply({ revision, changes: [[`k${n}`, value]] });
      }
    }
    expect(() => space.since("", 1)).toThrow("compacted");
    expect(() => space.since("", revision + 1)).toThrow("does not exist");
    expect(space.since("", 0).changes).toEqual([]);
  });
});

describe("an image", () => {
  test("restored gives the same keys, revisions and deletions", () => {
    fc.assert(
      fc.property(transactions, fc.nat(), (all, place) => {
        const space = new KeySpace(limits);
        all.forEach((changes, index) => space.apply({ revision: index + 1, changes }));
        const restored = new KeySpace(limits);
        restored.restore(space.image());
        expect(restored.list("")).toEqual(space.list(""));
        const after = place % (all.length + 1);
        const known = new Map<string, string>();
        const before = new KeySpace(limits);
        all.slice(0, after).forEach((changes, index) => {
          before.apply({ revision: index + 1, changes });
        });
        follow(known, before.since("", 0).changes);
        follow(known, restored.since("", after).changes);
        expect(known).toEqual(present(space, ""));
      }),
    );
  });
});
