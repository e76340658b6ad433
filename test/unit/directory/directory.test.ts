// The directory as a whole, over shards and links in RAM: what authors are promised, what gateways
// may say, what crashes leave behind.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { rm, writeFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { claimShard } from "../../../src/cluster/directory/claims.ts";
import { method } from "../../../src/cluster/directory/wire.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { memberId, shardId } from "../../../src/mail/ids.ts";
import {
  DirectoryCluster,
  knownHash,
  soon,
  until,
} from "../../support/directory/directory-cluster.ts";
import type { TestGateway } from "../../support/directory/directory-cluster.ts";

let cluster: DirectoryCluster;
let g1: TestGateway;
let g2: TestGateway;

beforeEach(async () => {
  cluster = new DirectoryCluster();
  g1 = await cluster.gateway("g1");
  g2 = await cluster.gateway("g2");
  await ready(g1, g2);
});
afterEach(() => cluster.close());

async function ready(...gateways: readonly TestGateway[]): Promise<void> {
  await until(() =>
    gateways.every(({ directory }) => directory.stale().length + directory.missing().length === 0),
  );
}

function add(
  name: string,
  more: object = {},
  gateway = g1,
): ReturnType<TestGateway["admin"]["create"]> {
  return gateway.admin.create({ name, hash: knownHash, ...more }, soon());
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (isMailError(error)) return error.code;
    throw error;
  }
  return "done";
}

describe("an author's change", () => {
  test("is known on every gateway once it is acknowledged", async () => {
    const row = await add("Alice@Example.test", { aliases: ["a.l@example.test", "@other.test"] });
    for (const { directory } of [g1, g2]) {
      expect(directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row });
      expect(directory.lookupNow("a.l@example.test")).toEqual({ kind: "found", row });
      expect(directory.lookupNow("nobody@other.test")).toEqual({ kind: "found", row });
      expect(directory.lookupNow("bob@example.test")).toEqual({ kind: "none" });
      expect(await directory.byAccount(row.account)).toEqual(row);
    }
  });

  test("of aliases is seen everywhere, and dropped names are free for others", async () => {
    await add("alice@example.test", { aliases: ["x@example.test", "y@example.test"] });
    await g2.admin.update(
      "alice@example.test",
      { aliases: ["y@example.test", "z@example.test"] },
      soon(),
    );
    expect(g1.directory.lookupNow("x@example.test")).toEqual({ kind: "none" });
    expect(g1.directory.lookupNow("z@example.test").kind).toBe("found");
    const bob = await add("bob@example.test", { aliases: ["x@example.test"] });
    expect(g2.directory.lookupNow("x@example.test")).toEqual({ kind: "found", row: bob });
  });

  test("of a password raises credVersion, of a quota doesn't", async () => {
    const before = await add("alice@example.test");
    const quota = await g2.admin.update("alice@example.test", { quotaBytes: 5 }, soon());
    expect([quota.credVersion, quota.userVersion]).toEqual([
      before.credVersion,
      before.userVersion + 1,
    ]);
    const changed = await g1.admin.update("alice@example.test", { password: "new" }, soon());
    expect(changed.credVersion).toBe(before.credVersion + 1);
    expect(g2.directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row: changed });
    const shown = await g2.admin.show("alice@example.test", soon());
    expect(shown.registration.quotaBytes).toBe(5);
    expect(shown.registration).not.toHaveProperty("credentials");
  });

  test("waits for a gateway that is cut off only until that one trusts its rows no more", async () => {
    const before = await add("alice@example.test");
    cluster.net.cut(g2.id);
    const changed = await g1.admin.update("alice@example.test", { disabled: true }, soon());
    expect(changed.credVersion).toBe(before.credVersion + 1);
    expect(g2.directory.stale()).toHaveLength(4);
    expect(g2.directory.lookupNow("carol@example.test")).toEqual({ kind: "unsure" });
    // What it still says names the old credVersion, which the account's primary refuses.
    expect(g2.directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row: before });
    cluster.net.heal(g2.id);
    await until(() => g2.directory.isFresh(changed.shard));
    expect(g2.directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row: changed });
  });

  test.each([
    ["no-at-sign", "INVALID"],
    ["alice@elsewhere.test", "INVALID"],
    ["alice+tag@example.test", "INVALID"],
    ["@example.test", "INVALID"],
  ])("with the name %s is refused with %s", async (name, code) => {
    expect(await codeOf(add(name))).toBe(code);
  });

  test("of an account that isn't there is refused", async () => {
    expect(await codeOf(g1.admin.update("who@example.test", { disabled: true }, soon()))).toBe(
      "NO_SUCH_ACCOUNT",
    );
    expect(await codeOf(g1.admin.remove("who@example.test", soon()))).toBe("NO_SUCH_ACCOUNT");
    expect(await codeOf(g1.admin.show("who@example.test", soon()))).toBe("NO_SUCH_ACCOUNT");
  });

  test("with a hash that can't be verified is refused with the reason", async () => {
    await expect(
      add("alice@example.test", { hash: "$2y$10$abcdefghijklmnopqrstuu" }),
    ).rejects.toThrow(/bcrypt/);
  });
});

describe("a name", () => {
  test("goes to one of two racers", async () => {
    const both = await Promise.allSettled([
      add("alice@example.test"),
      add("alice@example.test", {}, g2),
    ]);
    expect(both.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(cluster.shards.registrations()).toHaveLength(1);
  });

  test("that is taken as an alias takes the whole account back", async () => {
    await add("alice@example.test", { aliases: ["team@example.test"] });
    const free = ["b1@example.test", "b2@example.test"];
    expect(await codeOf(add("bob@example.test", { aliases: [...free, "team@example.test"] }))).toBe(
      "NAME_TAKEN",
    );
    for (const name of ["bob@example.test", ...free]) {
      await until(() => g2.directory.lookupNow(name).kind === "none");
      await add(name);
    }
  });

  test("keeps its UIDVALIDITY growing over delete and create", async () => {
    let highest = 0;
    const accounts = new Set<number>();
    for (let round = 0; round < 3; round++) {
      const row = await add("alice@example.test", { aliases: ["ally@example.test"] });
      expect(cluster.shards.uidValidity(row.account)).toBeGreaterThan(highest);
      highest = cluster.shards.uidValidity(row.account);
      accounts.add(row.account);
      await g2.admin.remove("alice@example.test", soon());
      for (const { directory } of [g1, g2]) {
        expect(directory.lookupNow("alice@example.test")).toEqual({ kind: "none" });
        expect(directory.lookupNow("ally@example.test")).toEqual({ kind: "none" });
      }
    }
    expect(accounts.size).toBe(3);
    const heir = await add("ally@example.test");
    expect(cluster.shards.uidValidity(heir.account)).toBeGreaterThan(highest);
  });
});

test("a name that is dropped from an account leaves it with the UIDVALIDITYs that it led to", async () => {
  const alice = await add("alice@example.test", { aliases: ["team@example.test"] });
  await g1.admin.update("alice@example.test", { aliases: [] }, soon());
  const highest = cluster.shards.uidValidity(alice.account);
  const bob = await add("bob@example.test", { aliases: ["team@example.test"] });
  expect(cluster.shards.uidValidity(bob.account)).toBeGreaterThan(highest);
});

describe("an import", () => {
  test("takes a thousand at once, each with its own result", async () => {
    const accounts = Array.from({ length: 1000 }, (_, index) => ({
      name: index === 500 ? "u499@example.test" : `u${index}@example.test`,
      hash: knownHash,
    }));
    const before = cluster.shards.commits;
    const results = await g1.admin.importBatch(accounts, AbortSignal.timeout(30_000));
    // An entry for each account; claims of many names share one.
    expect(cluster.shards.commits - before).toBeLessThan(1500);
    expect(results.filter(({ error }) => error !== undefined)).toEqual([
      { name: "u499@example.test", error: "u499@example.test is taken" },
    ]);
    const listed = [];
    for (let after = ""; ; ) {
      const rows = await g2.directory.list(after, 300);
      if (rows.length === 0) break;
      listed.push(...rows.map(({ name }) => name));
      after = listed.at(-1) ?? "";
    }
    expect(new Set(listed).size).toBe(999);
    expect(listed).toEqual(listed.toSorted());
  }, 30_000);
});

describe("a gateway", () => {
  test("says unsure while it has nothing, and found or none once it has all", async () => {
    const row = await add("alice@example.test");
    cluster.net.cut(memberId("g3"));
    const g3 = await cluster.gateway("g3");
    cluster.net.cut(memberId("g3"));
    await cluster.stop(g3);
    const alone = new DirectoryCluster(4, 1);
    const empty = await alone.gateway("g9");
    expect(empty.directory.lookupNow("alice@example.test")).toEqual({ kind: "unsure" });
    expect(empty.directory.missing()).toHaveLength(4);
    await alone.close();
    const g4 = await cluster.gateway("g4");
    await ready(g4);
    expect(g4.directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row });
    expect(g4.directory.lookupNow("bob@example.test")).toEqual({ kind: "none" });
  });

  test("fills a directory that was deleted, and forgets what went meanwhile", async () => {
    for (let index = 0; index < 20; index++) await add(`u${index}@example.test`);
    await cluster.stop(g2);
    await g1.admin.remove("u3@example.test", soon());
    const row = await g1.admin.update(
      "u4@example.test",
      { aliases: ["four@example.test"] },
      soon(),
    );
    const kept = await cluster.gateway("g2", g2.folder);
    await ready(kept);
    await cluster.stop(kept);
    await rm(g2.folder, { recursive: true, force: true });
    const wiped = await cluster.gateway("g2", g2.folder);
    await ready(wiped);
    for (const { directory } of [wiped, g1]) {
      expect(directory.lookupNow("u3@example.test")).toEqual({ kind: "none" });
      expect(directory.lookupNow("four@example.test")).toEqual({ kind: "found", row });
      expect((await directory.list("", 100)).length).toBe(19);
    }
  });

  test("makes a damaged folder anew", async () => {
    const row = await add("alice@example.test");
    await cluster.stop(g2);
    for (const file of await readdir(g2.folder)) {
      if (file.startsWith("MANIFEST") || file === "CURRENT") {
        await writeFile(join(g2.folder, file), "rubbish");
      }
    }
    const again = await cluster.gateway("g2", g2.folder);
    await ready(again);
    expect(again.directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row });
  });

  test("does not say none for a shard without a primary, and goes on saying found", async () => {
    const row = await add("alice@example.test");
    const home = claimShard("bob@example.test", 4);
    cluster.shards.promote(home, undefined);
    await until(() => !g1.directory.isFresh(home));
    expect(g1.directory.lookupNow("bob@example.test")).toEqual({ kind: "unsure" });
    expect(g1.directory.lookupNow("alice@example.test")).toEqual({ kind: "found", row });
    cluster.shards.promote(home, memberId("n2"));
    await until(() => g1.directory.isFresh(home));
    expect(g1.directory.lookupNow("bob@example.test")).toEqual({ kind: "none" });
  });

  test("asks the catch-all only for names that are surely nobody's", async () => {
    await add("alice@example.test", { aliases: ["@example.test"] });
    await add("bob@example.test");
    expect(g2.directory.lookupNow("bob@example.test")).toMatchObject({
      row: { name: "bob@example.test" },
    });
    expect(g2.directory.lookupNow("x@example.test")).toMatchObject({
      row: { name: "alice@example.test" },
    });
    cluster.shards.promote(claimShard("x@example.test", 4), undefined);
    await until(() => !g2.directory.isFresh(claimShard("x@example.test", 4)));
    expect(g2.directory.lookupNow("x@example.test")).toEqual({ kind: "unsure" });
  });
});

describe("a primary's death", () => {
  const steps = Array.from({ length: 12 }, (_, index) => index);
  test.each(steps)(
    "at entry %i of a create leaves one account or none, never half of one",
    async (step) => {
      const heir = memberId("n2");
      let left = step;
      cluster.shards.fate = (_shard, _when) => {
        if (left-- === 0) cluster.kill(memberId("n1"), heir);
        return "commit";
      };
      const aliases = ["a1@example.test", "a2@example.test", "@other.test"];
      // The client repeats the order at the new primary, under the same id.
      const row = await add("alice@example.test", { aliases });
      cluster.shards.fate = () => "commit";
      await until(() => cluster.shards.claims().every(({ task }) => task === undefined));
      const names = ["alice@example.test", ...aliases];
      const held = cluster.shards.claims().filter(({ state }) => state !== "released");
      expect(held.map(({ name }) => name).toSorted()).toEqual(names.toSorted());
      expect(new Set(held.map(({ account }) => account))).toEqual(new Set([row.account]));
      expect(cluster.shards.registrations().filter(({ state }) => state === "active")).toHaveLength(
        1,
      );
      for (const name of names)
        expect(g2.directory.lookupNow(name)).toEqual({ kind: "found", row });
    },
  );

  test.each(steps.slice(0, 10))(
    "at entry %i of a delete frees every name in the end",
    async (step) => {
      await add("alice@example.test", { aliases: ["a1@example.test", "a2@example.test"] });
      let left = step;
      cluster.shards.fate = () => {
        if (left-- === 0) cluster.kill(memberId("n1"), memberId("n2"));
        return "commit";
      };
      await g1.admin.remove("alice@example.test", soon());
      cluster.shards.fate = () => "commit";
      const states = cluster.shards.claims().map(({ state }) => state);
      expect(new Set(states)).toEqual(new Set(["released"]));
      expect(g2.directory.lookupNow("a1@example.test")).toEqual({ kind: "none" });
    },
  );

  test("in the middle of a change without its author is finished by the next one", async () => {
    await add("alice@example.test");
    const gone = new AbortController();
    cluster.shards.fate = (_shard, when) => {
      if (when === "after") {
        gone.abort();
        cluster.kill(memberId("n1"), memberId("n2"));
        cluster.shards.fate = () => "commit";
      }
      return "commit";
    };
    const aliases = ["new@example.test"];
    await codeOf(g1.admin.update("alice@example.test", { aliases }, gone.signal));
    await until(() => cluster.shards.claims().every(({ task }) => task === undefined));
    const { registration } = await g1.admin.show("alice@example.test", soon());
    const wanted = registration.aliases.length === 1 ? "found" : "none";
    await until(() => g1.directory.lookupNow("new@example.test").kind === wanted);
  });

  test("with answers lost at random never yields two accounts for a name", async () => {
    let seed = 1;
    cluster.shards.fate = () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % 5 === 0 ? "silent" : seed % 7 === 0 ? "lost" : "commit";
    };
    const names = Array.from({ length: 20 }, (_, index) => `u${index % 10}@example.test`);
    const ends = await Promise.all(names.map((name) => codeOf(add(name))));
    cluster.shards.fate = () => "commit";
    await until(() => cluster.shards.claims().every(({ task }) => task === undefined));
    expect(ends.filter((end) => end === "done").length).toBeLessThanOrEqual(10);
    const active = cluster.shards.registrations().filter(({ state }) => state === "active");
    const held = cluster.shards.claims().filter(({ state }) => state !== "released");
    expect(held.map(({ name, account }) => `${name} ${account}`).toSorted()).toEqual(
      active.map(({ name, account }) => `${name} ${account}`).toSorted(),
    );
  });
});

test("look-ups and logins ask no node", async () => {
  await add("alice@example.test");
  const asked = (): number => cluster.net.counts.get(method.row) ?? 0;
  const before = asked();
  for (let index = 0; index < 1000; index++) g2.directory.lookupNow("alice@example.test");
  expect(asked()).toBe(before);
  expect(g2.directory.cacheFigures.hits).toBeGreaterThan(900);
  expect(g2.directory.isFresh(shardId(0))).toBe(true);
});
