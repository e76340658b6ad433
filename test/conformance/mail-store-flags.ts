// MailStore conformance: FLAGS and MODSEQ as columns are what FETCH gives, whatever is asked for.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { uidSetFromRanges } from "../../src/mail/uid-set.ts";
import type { FlagsRequest } from "../../src/mail/flag-columns.ts";
import type { MailStore, Principal } from "../../src/mail/mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { message, never, open } from "./mail-store-kit.ts";
import type { Fixture } from "./mail-store.ts";

export function flagsTests(use: Fixture): void {
  describe("flags as columns", () => {
    test("of an empty mailbox are none", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id } = (await open(store, who)).info;
      expect(await shown(store, who, { mailbox: id, uids: [1, 99], wantModSeqs: true })).toEqual(
        [],
      );
    });

    test("are what FETCH gives: keywords, gaps, MODSEQs that go up and down, CHANGEDSINCE", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      for (let n = 1; n <= 24; n++) await kit.deliver(store, who, message(`number ${n}`));
      const { id } = (await open(store, who)).info;
      await kit.setFlags(store, who, id, [3, 7, 20, 20], "add", ["\\Seen", "$Label1"]);
      await kit.setFlags(store, who, id, [5, 6, 9, 9], "add", ["\\Flagged", "$label2"]);
      await kit.setFlags(store, who, id, [1, 1], "add", ["\\Deleted"]);
      const gone = { ...kit.change(), mailbox: id, uids: [2, 2, 11, 14, 24, 24], force: true };
      await store.expunge(who, gone, never);
      const { highestModSeq } = (await open(store, who)).info;
      const ranges = fc.array(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.nat(10)), {
        minLength: 1,
        maxLength: 4,
      });
      const asked = fc.record({
        uids: ranges.map((all) => uidSetFromRanges(all.map(([from, more]) => [from, from + more]))),
        changedSince: fc.option(fc.nat(highestModSeq + 2), { nil: undefined }),
        wantModSeqs: fc.boolean(),
      });
      const property = fc.asyncProperty(asked, async ({ uids, changedSince, wantModSeqs }) => {
        const since = changedSince === undefined ? {} : { changedSince };
        const items = { flags: true, ...(wantModSeqs ? { modSeq: true } : {}) };
        const fetched = await kit.fetch(store, who, id, items, { uids, ...since });
        const wanted = Array.from(fetched, ([uid, got]) => ({
          uid,
          flags: kit.flagList(got.get("FLAGS") ?? ""),
          modSeq: wantModSeqs ? Number(/\d+/.exec(got.get("MODSEQ") ?? "")?.[0]) : undefined,
        }));
        const request = { mailbox: id, uids, wantModSeqs, ...since };
        expect(await shown(store, who, request)).toEqual(wanted);
      });
      await fc.assert(property, { numRuns: 60 });
    });
  });
}

async function shown(store: MailStore, who: Principal, request: FlagsRequest) {
  const { uids, lists, which, modSeqs } = await store.flags(who, request, never);
  expect(which).toHaveLength(uids.length);
  expect(modSeqs).toHaveLength(request.wantModSeqs ? uids.length : 0);
  return Array.from(uids, (uid, at) => ({
    uid,
    flags: (lists[which[at] ?? -1] ?? ["no such list"]).toSorted(),
    modSeq: modSeqs[at],
  }));
}
