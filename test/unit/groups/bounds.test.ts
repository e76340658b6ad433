// What members can make a gateway hold in memory for a group, and what one group can do to others.

import { afterEach, describe, expect, it, vi } from "vitest";
import { loadIndex } from "../../../src/cluster/groups/group-index.ts";
import { GroupKeeper } from "../../../src/cluster/groups/group-keeper.ts";
import { GroupTexts } from "../../../src/cluster/groups/group-texts.ts";
import { copyOut } from "../../../src/cluster/groups/view-copy.ts";
import { resolveRecipient } from "../../../src/gateway/smtp/recipients.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import type { DirectoryRow } from "../../../src/mail/account.ts";
import { defaultGroup, everyoneView, scheduledMailbox } from "../../../src/mail/group.ts";
import { mailboxId, makeAccountId, opId } from "../../../src/mail/ids.ts";
import type { Principal } from "../../../src/mail/mail-store.ts";
import { newReadState } from "../../../src/mail/read-state.ts";
import { registrationOf } from "../../../src/store/accounts.ts";
import { until } from "../../support/directory/directory-cluster.ts";
import {
  addAccount,
  change,
  delivery,
  makeStore,
  message,
  never,
  shard,
} from "../store/harness.ts";
import { makeWorld } from "./world.ts";
import type { World } from "./world.ts";

let world: World | undefined;
afterEach(() => world?.close());

function rowOf(who: Principal): DirectoryRow {
  return {
    ...who,
    name: "news@pabal.test",
    aliases: [],
    state: "active",
    credentials: { hash: "" },
    userVersion: 1,
    overQuota: false,
    group: defaultGroup,
  };
}

describe("a gateway", () => {
  it("counts what was asked for among what it keeps of answers", async () => {
    world = makeWorld();
    const { store } = world.harness;
    const group = await world.add("news@pabal.test", {});
    await world.post(group, "one");
    const texts = new GroupTexts(store, 1024 * 1024);
    const index = await loadIndex(store, group, "INBOX", never);
    const fields = ["x".repeat(50_000)];
    const section = { path: [], kind: "fields", fields, label: "BODY[x]" } as const;
    const items = { sections: [section] };
    for await (const parts of texts.fetch(rowOf(group), index, [1], items, never)) {
      expect(parts.length).toBe(1);
    }
    expect(texts.bytes).toBeGreaterThan(50_000);
  });

  it("holds little of a COPY out of a group in memory, however many messages", async () => {
    world = makeWorld();
    const { store } = world.harness;
    const group = await world.add("news@pabal.test", {});
    const member = await world.add("u1@pabal.test");
    const text = "y".repeat(70).concat("\r\n").repeat(2800);
    for (let at = 0; at < 8; at++) {
      await store.deliver(delivery([group], message(`s${at}`, text)), never);
    }
    const index = await loadIndex(store, group, "INBOX", never);
    const append = vi.spyOn(store, "append");
    const view = {
      mailbox: mailboxId(9),
      name: "Announcements/news",
      group: rowOf(group),
      index,
      state: newReadState(index.uidValidity),
      places: Uint32Array.from(index.uids, (_, at) => at),
      rights: "lrswte",
    };
    const request = { ...change(), mailbox: view.mailbox, uids: [1, 8], target: "INBOX" };
    const { uids } = await copyOut(
      store,
      member,
      view,
      [...view.places],
      request,
      undefined,
      never,
    );
    expect(uids.length).toBe(8);
    const sources = append.mock.calls.flatMap(([, { messages }]) =>
      messages.map(({ source }) => source),
    );
    const held = sources.map((one) => (one.kind === "bytes" ? one.bytes.byteLength : 0));
    expect(held.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(1024 * 1024);
    expect(held.filter((one) => one === 0).length).toBe(3);
  });
});

describe("submission", () => {
  it("takes a session for the account that logged in, not for who has its name now", () => {
    const rowNamed = (account: number, name: string): DirectoryRow => {
      const { group: _none, ...row } = rowOf({
        account: makeAccountId(shard, account),
        shard,
        credVersion: 1,
      });
      return { ...row, name };
    };
    const group = { ...rowNamed(1, "news@pabal.test"), group: defaultGroup };
    const poster = rowNamed(2, "kim@pabal.test");
    const open = { ...group, group: { ...defaultGroup, posters: [poster.name] } };
    const verdict = (user: DirectoryRow): boolean =>
      resolveRecipient("news@pabal.test", {
        directory: {
          lookupNow: (name) => ({ kind: "found", row: name === open.name ? open : poster }),
          byAccount: () => Promise.resolve(undefined),
        },
        domains: ["pabal.test"],
        hostName: "mx.pabal.test",
        authenticated: true,
        user,
        smtpUtf8: false,
      }).ok;
    expect(verdict(poster)).toBe(true);
    expect(verdict({ ...poster, account: makeAccountId(shard, 3) })).toBe(false);
  });
});

describe("a node", () => {
  it("refuses very many keywords of a member before the work, which would be minutes", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const uids = Array.from({ length: 10_000 }, (_, at) => [2 * at + 1, 2 * at + 1]).flat();
    const flags = Array.from({ length: 16_000 }, (_, at) => `k${at}`);
    const asked = harness.store.changeReadState(
      who,
      {
        ...change(),
        group: makeAccountId(shard, 9),
        mailbox: everyoneView,
        uidValidity: 7,
        groupModSeq: 3,
        oldestUid: 1,
        change: { kind: "flags", uids, mode: "add", flags },
      },
      never,
    );
    await expect(asked).rejects.toMatchObject({ failure: { code: "LIMIT", limit: "keywordsMax" } });
  });
});

describe("the keeper", () => {
  it("looks after a group though another one in its shard can't be looked after", async () => {
    world = makeWorld();
    const { store, engine } = world.harness;
    const broken = await world.add("broken@pabal.test", {});
    const group = await world.add("news@pabal.test", { retentionMs: 1 });
    await store.createMailbox(group, { ...change(), name: scheduledMailbox }, never);
    await world.post(group, "old");
    const clock = new SimulatedClock();
    clock.advance(10 * 365 * 86_400_000);
    let ids = 0;
    let expired = false;
    const keeper = new GroupKeeper({
      groups: {
        shards: () => [shard],
        serves: () => true,
        groupsIn: () => Promise.resolve([broken.account, group.account]),
        registration: (_shard, account) =>
          account === broken.account
            ? Promise.reject(new Error("its row can't be read"))
            : registrationOf(engine, shard, account),
      },
      store,
      clock,
      nextOpId: () => opId((++ids).toString(16).padStart(32, "0")),
      log: {
        info: (_facts, text) => {
          expired ||= text === "announcements expired";
        },
        warn: () => undefined,
      },
    });
    keeper.start();
    clock.advance(1000);
    await until(() => expired);
    await keeper.close();
  });
});
