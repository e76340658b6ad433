// Random changes of one account, for tests that compare stores: what may be done, doing it, and all
// that is visible afterwards.

import fc from "fast-check";
import { isMailError } from "../../../src/mail/errors.ts";
import { deliveryId, mailboxId, modSeq, opId, uid } from "../../../src/mail/ids.ts";
import type { MailStore, Principal } from "../../../src/mail/mail-store.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import { allUids } from "../../../src/mail/uid-set.ts";
import type { UidSet } from "../../../src/mail/uid-set.ts";
import { fetched, message, never, shard } from "./harness.ts";

export interface Side {
  readonly store: MailStore;
  readonly who: Principal;
}

export type Step =
  | { readonly do: "deliver"; readonly mailbox: string | undefined; readonly size: number }
  | {
      readonly do: "append";
      readonly mailbox: string;
      readonly flags: string[];
      readonly count: number;
    }
  | {
      readonly do: "store";
      readonly id: number;
      readonly uids: UidSet;
      readonly mode: "add" | "remove" | "replace";
      readonly flags: string[];
      readonly unchangedSince: number | undefined;
    }
  | {
      readonly do: "expunge";
      readonly id: number;
      readonly uids: UidSet | undefined;
      readonly force: boolean;
    }
  | {
      readonly do: "copy" | "move";
      readonly id: number;
      readonly uids: UidSet;
      readonly target: string;
    }
  | {
      readonly do: "replace";
      readonly mailbox: string;
      readonly flags: string[];
      readonly id: number;
      readonly uid: number;
    }
  | {
      readonly do: "annotate";
      readonly mailbox: string;
      readonly entry: string;
      readonly value: string | undefined;
    }
  | { readonly do: "create" | "delete"; readonly name: string }
  | { readonly do: "rename"; readonly from: string; readonly to: string }
  | { readonly do: "subscribe"; readonly name: string; readonly on: boolean }
  | { readonly do: "open"; readonly name: string; readonly claim: boolean }
  | { readonly do: "reopen" | "forget" };

const names = [
  "INBOX",
  "inbox",
  "Sent",
  "Trash",
  "work",
  "work/a",
  "work/a/b",
  "other",
  "INBOX/sub",
];
const name = fc.constantFrom(...names);
const flags = fc.uniqueArray(
  fc.constantFrom(
    "\\Seen",
    "\\Deleted",
    "\\flagged",
    "\\Recent",
    "$Forwarded",
    "$forwarded",
    "Junk",
    "키워드",
  ),
  { maxLength: 4, selector: (flag) => flag.toLowerCase() },
);
const uids = fc
  .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 6 }))
  .map(([low, more]): UidSet => [low, low + more]);
const id = fc.integer({ min: 1, max: 9 });
export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("deliver" as const),
      mailbox: fc.option(name, { nil: undefined }),
      size: fc.integer({ min: 0, max: 300 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      mailbox: name,
      flags,
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      id,
      uids,
      mode: fc.constantFrom("add" as const, "remove" as const, "replace" as const),
      flags,
      unchangedSince: fc.option(fc.integer({ min: 0, max: 20 }), { nil: undefined }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("expunge" as const),
      id,
      uids: fc.option(uids, { nil: undefined }),
      force: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("copy" as const, "move" as const),
      id,
      uids,
      target: name,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("create" as const, "create" as const, "delete" as const),
      name,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("replace" as const),
      mailbox: name,
      flags,
      id,
      uid: fc.integer({ min: 1, max: 8 }),
    }),
  },
  fc.record({
    do: fc.constant("annotate" as const),
    mailbox: fc.constantFrom(...names, ""),
    entry: fc.constantFrom("/private/comment", "/shared/comment"),
    value: fc.option(fc.string({ maxLength: 5 }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant("rename" as const), from: name, to: name }),
  fc.record({ do: fc.constant("subscribe" as const), name, on: fc.boolean() }),
  fc.record({ do: fc.constant("open" as const), name, claim: fc.boolean() }),
  fc.record({ do: fc.constantFrom("reopen" as const, "forget" as const) }),
);

export async function outcome(side: Side, one: Step, op: string, retry: boolean): Promise<string> {
  try {
    return JSON.stringify(await perform(side, one, op, retry));
  } catch (error) {
    if (isMailError(error)) return `error ${error.code}`;
    throw error;
  }
}

async function perform(
  { store, who }: Side,
  one: Step,
  op: string,
  retry: boolean,
): Promise<unknown> {
  const change = { opId: opId(op), retry };
  switch (one.do) {
    case "deliver": {
      const bytes = message("d", "x".repeat(one.size));
      const [result] = await store.deliver(
        {
          ...change,
          shard,
          deliveryId: deliveryId(op.slice(0, 26)),
          recipients: [
            {
              account: who.account,
              ...(one.mailbox === undefined ? {} : { mailbox: one.mailbox }),
            },
          ],
          source: { kind: "bytes", bytes },
          index: indexMessage(bytes),
        },
        never,
      );
      return result?.ok === true ? [result.mailbox, result.uid] : result?.failure.code;
    }
    case "append": {
      const messages = Array.from({ length: one.count }, (_, at) => {
        const bytes = message(`a${at}`);
        return {
          source: { kind: "bytes" as const, bytes },
          index: indexMessage(bytes),
          flags: one.flags,
          internalDateMs: 86_400_000,
        };
      });
      const { mailbox, uids: given } = await store.append(
        who,
        { ...change, mailbox: one.mailbox, messages },
        never,
      );
      return [mailbox, given];
    }
    case "replace": {
      const bytes = message("r");
      const source = { kind: "bytes" as const, bytes };
      const messages = [
        { source, index: indexMessage(bytes), flags: one.flags, internalDateMs: 0 },
      ];
      const replaces = { mailbox: mailboxId(one.id), uid: uid(one.uid) };
      const request = { ...change, mailbox: one.mailbox, messages, replaces };
      const { mailbox, uids: given, highestModSeq } = await store.append(who, request, never);
      return [mailbox, given, highestModSeq];
    }
    case "annotate": {
      const value = one.value === undefined ? undefined : Buffer.from(one.value);
      const entries = [{ entry: one.entry, value }];
      await store.annotate(who, { ...change, mailbox: one.mailbox, entries }, never);
      return null;
    }
    case "store": {
      const { id: mailbox, uids: set, mode, flags: list, unchangedSince } = one;
      const result = await store.store(
        who,
        {
          ...change,
          mailbox: mailboxId(mailbox),
          uids: set,
          mode,
          flags: list,
          ...(unchangedSince === undefined ? {} : { unchangedSince }),
        },
        never,
      );
      const states = result.stored.map((state) => [
        state.uid,
        state.modSeq,
        [...state.flags].sort(),
      ]);
      return [result.highestModSeq, states, result.modified];
    }
    case "expunge": {
      const { id: mailbox, uids: set, force } = one;
      return store.expunge(
        who,
        {
          ...change,
          mailbox: mailboxId(mailbox),
          force,
          ...(set === undefined ? {} : { uids: set }),
        },
        never,
      );
    }
    case "copy":
    case "move": {
      const { from, to, highestModSeq } = await store[one.do](
        who,
        { ...change, mailbox: mailboxId(one.id), uids: one.uids, target: one.target },
        never,
      );
      return [from, to, highestModSeq];
    }
    case "create": {
      const { id: mailbox, name: made } = await store.createMailbox(
        who,
        { ...change, name: one.name },
        never,
      );
      return [mailbox, made];
    }
    case "delete":
      return (await store.deleteMailbox(who, { ...change, name: one.name }, never)) ?? null;
    case "rename":
      return (
        (await store.renameMailbox(who, { ...change, from: one.from, to: one.to }, never)) ?? null
      );
    case "subscribe":
      return (
        (await store.setSubscribed(
          who,
          { ...change, name: one.name, subscribed: one.on },
          never,
        )) ?? null
      );
    case "open": {
      const open = await store.openMailbox(who, { name: one.name, claimRecent: one.claim }, never);
      return [[...open.uids], open.recentFrom, open.firstUnseen, [...open.keywords].sort()];
    }
    default:
      return null;
  }
}

/** Everything a client could see, with what may differ (UIDVALIDITY, order of flags) left out. */
export async function visible({ store, who }: Side): Promise<unknown> {
  const { mailboxes, orphanSubscriptions } = await store.listMailboxes(who, never);
  const all: unknown[] = [];
  for (const { uidValidity: _, ...info } of mailboxes) {
    if (!info.selectable) {
      all.push(info);
      continue;
    }
    const items = {
      flags: true,
      size: true,
      modSeq: true,
      envelope: true,
      sections: [{ path: [], kind: "body" as const, label: "BODY[]" }],
    };
    const texts = await fetched(
      store.fetch(who, { mailbox: info.id, uids: allUids, items }, never),
    );
    const since = modSeq(Math.floor(info.highestModSeq / 2));
    const { added, changed, ...rest } = await store.changes(
      who,
      { mailbox: info.id, sinceModSeq: since, knownUidNext: 3 },
      never,
    );
    const states = [...added, ...changed].map(({ uid, modSeq: at, flags: list }) => [
      uid,
      at,
      [...list].sort(),
    ]);
    all.push([info, Array.from(texts, ([uid, text]) => [uid, sortFlags(text)]), rest, states]);
  }
  const { usedBytes, usedMessages } = await store.quota(who, never);
  const annotations = (await store.annotations(who, { mailbox: undefined }, never)).map(
    ({ mailbox, annotations: list }) => [
      mailbox,
      list.map(({ entry, value }) => [entry, Buffer.from(value).toString()]),
    ],
  );
  return { all, orphanSubscriptions, usedBytes, usedMessages, annotations };
}

function sortFlags(text: string): string {
  return text.replace(
    /FLAGS \(([^)]*)\)/,
    (_, list: string) => `FLAGS (${list.split(" ").sort().join(" ")})`,
  );
}
