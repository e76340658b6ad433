// Which entries a synced group makes durable, when a log was cut or begun anew meanwhile.

import { describe, expect, test } from "vitest";
import { UnsyncedGroups } from "../../../src/cluster/node/unsynced-groups.ts";
import { lsn } from "../../../src/mail/ids.ts";
import type { CommitGroup } from "../../../src/store/log/types.ts";

const group = (): CommitGroup => ({
  durable: Promise.resolve(),
  marks: new Map(),
  tails: undefined,
});

describe("groups that are not on disk yet", () => {
  test("an entry that was cut and came again is durable with its second group only", () => {
    const groups = new UnsyncedGroups();
    const [first, second] = [group(), group()];
    groups.appended(first, lsn(11), 0xb, 0);
    groups.cut(lsn(10), 0xa);
    groups.appended(second, lsn(11), 0xb, 1);
    expect(groups.synced(first)).toMatchObject({ lsn: 10, hash: 0xa });
    expect(groups.synced(second)).toMatchObject({ lsn: 11, hash: 0xb });
  });

  test("a log that begins anew owes nothing to what was written before", () => {
    const groups = new UnsyncedGroups();
    const first = group();
    groups.appended(first, lsn(11), 0xb, 0);
    groups.clear();
    expect(groups.synced(first)).toBeUndefined();
    expect(groups.sinceMs).toBeUndefined();
  });

  test("a group counts once, with the newest of its entries", () => {
    const groups = new UnsyncedGroups();
    const only = group();
    groups.appended(only, lsn(11), 0xb, 5);
    groups.appended(only, lsn(12), 0xc, 6);
    expect(groups.sinceMs).toBe(5);
    expect(groups.synced(only)).toMatchObject({ lsn: 12, hash: 0xc });
    expect(groups.synced(only)).toBeUndefined();
  });
});
