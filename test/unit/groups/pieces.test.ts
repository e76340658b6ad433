// What announcements look like on the wire, how idle sessions are told of them, and that a member's
// change is done once and survives a restart.

import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { announcementOf, listFields } from "../../../src/cluster/groups/announcement-message.ts";
import type { AnnouncementFacts } from "../../../src/cluster/groups/announcement-message.ts";
import { mayLeave, mayPost } from "../../../src/cluster/groups/group-policy.ts";
import { Pacer } from "../../../src/cluster/groups/pacer.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import type { DirectoryRow } from "../../../src/mail/account.ts";
import { defaultGroup, everyoneView } from "../../../src/mail/group.ts";
import type { GroupSettings } from "../../../src/mail/group.ts";
import { makeAccountId, shardId } from "../../../src/mail/ids.ts";
import type { StateRequest } from "../../../src/mail/member-states.ts";
import { withFlag } from "../../../src/mail/read-state.ts";
import { addAccount, change, makeStore, never } from "../store/harness.ts";
import { makeWorld } from "./world.ts";
import type { World } from "./world.ts";

const shard = shardId(1);

function rowOf(name: string, group?: Partial<GroupSettings>): DirectoryRow {
  return {
    account: makeAccountId(shard, name.length),
    shard,
    name,
    aliases: [],
    state: "active",
    credentials: { hash: "" },
    credVersion: 1,
    userVersion: 1,
    overQuota: false,
    ...(group === undefined ? {} : { group: { ...defaultGroup, ...group } }),
  };
}

/** The announcement of `given`, which comes in pieces that end at `cuts`. */
async function announced(
  given: string | Buffer,
  facts: AnnouncementFacts,
  cuts: readonly number[] = [],
): Promise<string> {
  const bytes = Buffer.from(given);
  async function* pieces(): AsyncGenerator<Buffer> {
    const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length];
    let from = 0;
    for (const end of ends.toSorted((a, b) => a - b)) {
      yield bytes.subarray(from, end);
      from = end;
    }
  }
  const chunks: Buffer[] = [];
  for await (const chunk of announcementOf(pieces(), facts)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe("an announcement", () => {
  const facts = { group: rowOf("news@pabal.test", { join: "open" }), nowMs: 0, messageId: "<1@x>" };

  it("of plain text gets a header, and CRLF", async () => {
    const text = await announced("점심\nat 12\n", { ...facts, subject: "점심 시간" });
    const [header = "", body] = text.split("\r\n\r\n");
    expect(body).toBe("점심\r\nat 12\r\n");
    expect(header).toContain("List-Unsubscribe: <mailto:news+unsubscribe@pabal.test>");
    expect(header).toContain("Subject: =?utf-8?B?7KCQ7IusIOyLnOqwhA==?=");
    expect(header).toContain("Content-Type: text/plain; charset=utf-8");
    expect(header).toContain("Message-ID: <1@x>");
  });

  it("keeps its own header, but for what is the group's to say", async () => {
    const given = Buffer.from(
      "From: a@pabal.test\nBcc: b@pabal.test\nList-Id: <evil>\nList-Unsubscribe: <x>\nSubject: s\n\nhi",
    );
    const header = await announced(given, { ...facts, expiresMs: 86_400_000 });
    expect(header).not.toMatch(/evil|Bcc|<x>/);
    expect(header).toContain("From: a@pabal.test\r\nSubject: s\r\n");
    expect(header).toContain("Expires: Fri, 2 Jan 1970 00:00:00 +0000\r\n");
    expect(header).toMatch(/\r\n\r\nhi\r\n$/);
  });

  it("is the same however it comes in pieces, with CRLF alone at the ends of lines", async () => {
    const part = fc.constantFrom("Subject: s", "a", "b:c", "\r", "\n", "\r\n", "\n\n", "é");
    const text = fc.array(part, { minLength: 1, maxLength: 30 }).map((parts) => parts.join(""));
    await fc.assert(
      fc.asyncProperty(text, fc.array(fc.nat(), { maxLength: 8 }), async (given, cuts) => {
        const whole = await announced(given, facts);
        expect(await announced(given, facts, cuts)).toBe(whole);
        expect(whole.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/);
        expect(whole).toMatch(/\r\n$/);
        // Nothing of the text is lost.
        const kept = (from: string): string => from.replaceAll(/[\r\n]/g, "");
        expect(kept(whole)).toContain(kept(given));
      }),
    );
  });

  it("is refused when nothing comes, or a header without an end", async () => {
    await expect(announced("", facts)).rejects.toThrow("empty");
    const endless = `X: ${"y".repeat(70)}\n`.repeat(5000);
    await expect(announced(endless, facts, [100_000, 300_000])).rejects.toThrow("header");
  });

  it("of a closed group offers no way out, and nobody leaves the group of everyone", () => {
    const everyone = rowOf("all@pabal.test", { everyone: true, join: "open" });
    expect(listFields(everyone)).not.toContain("Unsubscribe");
    expect(listFields(rowOf("news@pabal.test", {}))).toBe(
      "List-Id: <news.pabal.test>\r\nList-Post: NO\r\n",
    );
  });
});

describe("who may post", () => {
  const member = (group: DirectoryRow, user: DirectoryRow): DirectoryRow => ({
    ...user,
    memberships: [{ group: group.account, mailbox: everyoneView, sinceMs: 1, fromUid: 1 }],
  });

  it("is the listed, then members, then users; no group writes to a group", () => {
    const kim = rowOf("kim@pabal.test");
    for (const [settings, stranger, asMember] of [
      [{}, false, false],
      [{ posters: ["kim@pabal.test"] }, true, true],
      [{ post: "members" }, false, true],
      [{ post: "members", everyone: true }, true, true],
      [{ post: "users" }, true, true],
    ] as const) {
      const group = rowOf("news@pabal.test", settings);
      expect([mayPost(group, kim), mayPost(group, member(group, kim))]).toEqual([
        stranger,
        asMember,
      ]);
      expect(mayPost({ ...group, state: "disabled" }, kim)).toBe(false);
    }
    const open = rowOf("x@pabal.test", { post: "members", everyone: true, join: "open" });
    expect(mayPost(open, rowOf("other@pabal.test", {}))).toBe(false);
    expect(mayLeave(open)).toBe(false);
  });
});

describe("ten thousand idle sessions", () => {
  it("are told at the rate, each once, and not when they have gone", () => {
    const clock = new SimulatedClock();
    const pacer = new Pacer({ clock, random: new SeededRandom(1), perSecond: 5000 });
    let told = 0;
    const listeners = Array.from({ length: 10_000 }, () => () => {
      told++;
    });
    pacer.tell(listeners);
    pacer.tell(listeners);
    expect(told).toBeLessThanOrEqual(100);
    for (const gone of listeners.slice(0, 1000)) pacer.forget(gone);
    const before = told;
    clock.advance(500);
    expect(told - before).toBeLessThanOrEqual(2600);
    expect(told - before).toBeGreaterThan(1000);
    clock.advance(3000);
    expect(pacer.waiting).toBe(0);
    expect(told).toBeLessThanOrEqual(10_000);
    expect(told).toBeGreaterThanOrEqual(9000);
  });
});

let world: World | undefined;
afterEach(() => {
  world?.close();
  world = undefined;
});

describe("a member's change", () => {
  it("is done once however often it is asked, and is there after a restart", async () => {
    const harness = makeStore();
    const who = await addAccount(harness);
    const request: StateRequest = {
      ...change(),
      group: makeAccountId(shard, 9),
      mailbox: everyoneView,
      uidValidity: 7,
      groupModSeq: 3,
      oldestUid: 1,
      change: { kind: "flags", uids: [1, 4], mode: "add", flags: ["\\Seen"] },
    };
    const first = await harness.store.changeReadState(who, request, never);
    expect(first).toMatchObject({ changed: true, state: { own: 1 } });
    const again = await harness.store.changeReadState(who, { ...request, retry: true }, never);
    expect(again).toMatchObject({ changed: false, state: { own: 1 } });
    await harness.engine.rows.drained();
    const { db, journal } = harness;
    const reopened = makeStore({ db, journal });
    const groups = await reopened.store.readGroups(who, { under: "x" });
    const state = groups.states.get(request.group);
    expect(state && withFlag(state, "\\Seen")).toEqual([1, 4]);
  });

  it("is refused where the membership has ended", async () => {
    world = makeWorld();
    const group = await world.add("news@pabal.test", {});
    const user = await world.add("kim@pabal.test");
    const join = { group: group.account, sinceMs: 1, fromUid: 1 };
    await world.patch(user.account, { join });
    await world.patch(user.account, { leave: group.account });
    await world.patch(user.account, { join });
    const { store } = world.harness;
    const { memberships } = await store.readGroups(user, { under: "x" });
    // Ids of views are never used again.
    expect(memberships.map(({ mailbox }) => mailbox)).toEqual([everyoneView + 2]);
    await expect(world.patch(group.account, { join })).rejects.toThrow("INVALID");
  });
});
