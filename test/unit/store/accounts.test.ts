import { describe, expect, it } from "vitest";
import { makeAccountId, shardId } from "../../../src/mail/ids.ts";
import {
  createAccount,
  deleteAccount,
  fenceAccount,
  firstMailboxes,
  listRegistrations,
  updateAccount,
} from "../../../src/store/accounts.ts";
import type { CreateAccount } from "../../../src/store/accounts.ts";
import {
  claimOf,
  confirmClaim,
  listClaims,
  putClaim,
  releaseClaim,
} from "../../../src/store/claims.ts";
import type { FeedEvent } from "../../../src/store/registration-feed.ts";
import { addAccount, change, delivery, makeStore, message, never, shard } from "./harness.ts";

function newAccount(counter: number, name: string): CreateAccount {
  return {
    ...change(),
    shard,
    account: makeAccountId(shard, counter),
    name,
    aliases: [],
    credentials: { hash: "x" },
    quotaBytes: 0,
    quotaMessages: 0,
    profile: JSON.parse('{"__proto__":"plain"}') as Record<string, string>,
    mailboxes: firstMailboxes,
    uidValidityFloor: 4_000_000_000,
  };
}

describe("accounts on a node", () => {
  it("refuses an id that another name has, and finds its own again", async () => {
    const { engine } = makeStore();
    const request = newAccount(900, "a@pabal.test");
    const made = await createAccount(engine, request, never);
    expect(await createAccount(engine, { ...request, retry: true }, never)).toEqual(made);
    const other = { ...request, ...change(), name: "b@pabal.test" };
    await expect(createAccount(engine, other, never)).rejects.toMatchObject({ code: "CONFLICT" });
  });

  it("gives UIDVALIDITYs above the name's floor", async () => {
    const { engine, store } = makeStore();
    const { account } = await createAccount(engine, newAccount(901, "a@pabal.test"), never);
    const { mailboxes } = await store.listMailboxes({ account, shard, credVersion: 1 });
    expect(Math.min(...mailboxes.map(({ uidValidity }) => uidValidity))).toBe(4_000_000_001);
    expect(new Set(mailboxes.map(({ uidValidity }) => uidValidity)).size).toBe(6);
  });

  it("never creates an account that was asked for in vain", async () => {
    const { engine } = makeStore();
    const request = newAccount(902, "a@pabal.test");
    expect(
      await fenceAccount(engine, { ...change(), shard, account: request.account }, never),
    ).toBe("never");
    await expect(createAccount(engine, request, never)).rejects.toMatchObject({ code: "CONFLICT" });
    const there = await createAccount(engine, newAccount(903, "b@pabal.test"), never);
    expect(await fenceAccount(engine, { ...change(), shard, account: there.account }, never)).toBe(
      "exists",
    );
  });

  it("ends sessions when the password changes, and tells the directory", async () => {
    const harness = makeStore();
    const { engine, store } = harness;
    const who = await addAccount(harness);
    const events: FeedEvent[] = [];
    engine.feed.listen((event) => events.push(event));
    const watched = store.watch(who, { mailboxes: "all" }, never)[Symbol.asyncIterator]();
    const after = await updateAccount(
      engine,
      who,
      change(),
      { credentials: { hash: "new" } },
      never,
    );
    expect(after).toMatchObject({ credVersion: 2, userVersion: 2 });
    expect((await watched.next()).value).toEqual({ kind: "revoked" });
    await expect(store.listMailboxes(who)).rejects.toMatchObject({ code: "STALE_CREDENTIALS" });
    expect(events).toMatchObject([{ kind: "registration", registration: { credVersion: 2 } }]);
    const quota = await updateAccount(engine, who, change(), { quotaMessages: 1 }, never);
    expect(quota).toMatchObject({ credVersion: 2, userVersion: 3 });
    await store.deliver(delivery([who], message("m")), never);
    expect(events.at(-1)).toMatchObject({ overQuota: true });
    expect(events.map(({ lsn }) => lsn)).toEqual([2, 3, 4]);
  });

  it("keeps a tombstone of a deleted account and nothing else of it", async () => {
    const harness = makeStore();
    const { engine, store } = harness;
    const who = await addAccount(harness);
    await deleteAccount(engine, who, change(), never);
    await expect(store.listMailboxes(who)).rejects.toMatchObject({ code: "NO_SUCH_ACCOUNT" });
    const [outcome] = await store.deliver(delivery([who], message("m")), never);
    expect(outcome).toMatchObject({ ok: false, failure: { code: "NO_SUCH_ACCOUNT" } });
    const listed = [];
    for await (const batch of listRegistrations(engine, shard)) listed.push(...batch);
    expect(listed).toMatchObject([
      { registration: { state: "deleted", credentials: { hash: "" } } },
    ]);
  });
});

describe("claims of names", () => {
  const home = shardId(9);
  const claim = { shard: home, name: "u@pabal.test", target: shard };

  it("gives a name to one account only", async () => {
    const { engine } = makeStore();
    const both = await Promise.allSettled([
      putClaim(engine, { ...change(), ...claim }, never),
      putClaim(engine, { ...change(), ...claim }, never),
    ]);
    expect(both.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(both[1]).toMatchObject({ reason: { code: "NAME_TAKEN" } });
  });

  it("allots no id twice when an epoch ends between two of them", async () => {
    const { engine, journal } = makeStore();
    const { rows } = engine;
    journal.held = true;
    const first = putClaim(engine, { ...change(), ...claim }, never);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    expect(journal.entries).toHaveLength(1);
    const second = putClaim(engine, { ...change(), ...claim, name: "w@pabal.test" }, never);
    // The same primary begins a new epoch; what it had proposed is committed while rows are read.
    const get = rows.get.bind(rows);
    rows.get = (key) => {
      const found = get(key);
      journal.serving = true;
      journal.release();
      return found;
    };
    journal.serving = false;
    engine.resetShard(home);
    await expect(second).rejects.toMatchObject({ code: "WRONG_NODE" });
    journal.serving = true;
    journal.release();
    const { account } = await first;
    const third = await putClaim(engine, { ...change(), ...claim, name: "w@pabal.test" }, never);
    expect(third.account).not.toBe(account);
  });

  it("answers a retry with its own claim, and allots each id once", async () => {
    const { engine } = makeStore();
    const request = { ...change(), ...claim };
    const first = await putClaim(engine, request, never);
    expect(await putClaim(engine, { ...request, retry: true }, never)).toEqual(first);
    const second = await putClaim(engine, { ...change(), ...claim, name: "v@pabal.test" }, never);
    expect(second.account).toBe(first.account + 1);
    const listed = [];
    for await (const batch of listClaims(engine, home)) listed.push(...batch);
    expect(listed.map((each) => each.claim.name)).toEqual(["u@pabal.test", "v@pabal.test"]);
  });

  it("a released name can be claimed again, with its floor kept", async () => {
    const { engine } = makeStore();
    const { account } = await putClaim(engine, { ...change(), ...claim }, never);
    const mine = { shard: home, name: claim.name, account };
    expect((await confirmClaim(engine, { ...change(), ...mine }, never)).state).toBe("confirmed");
    await releaseClaim(engine, { ...change(), ...mine, uidValidityFloor: 77 }, never);
    await expect(confirmClaim(engine, { ...change(), ...mine }, never)).rejects.toMatchObject({
      code: "CONFLICT",
    });
    const next = await putClaim(engine, { ...change(), ...claim }, never);
    expect(next).toMatchObject({ uidValidityFloor: 77, state: "claimed" });
    expect(next.account).not.toBe(account);
    expect(await claimOf(engine, home, claim.name)).toEqual(next);
  });
});
