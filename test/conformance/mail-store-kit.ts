// What the parts of the MailStore suite share: the fixture a store brings along, short forms of
// requests, and a reader of rendered FETCH answers.

import { setMaxListeners } from "node:events";
import { expect } from "vitest";
import { isMailError } from "../../src/mail/errors.ts";
import type { MailErrorCode } from "../../src/mail/errors.ts";
import { partsOf } from "../../src/mail/fetch-parts.ts";
import { deliveryId, opId } from "../../src/mail/ids.ts";
import type { MailboxId } from "../../src/mail/ids.ts";
import type {
  AppendOutcome,
  Change,
  DeliverOutcome,
  FetchItems,
  FetchRequest,
  MailStore,
  OpenMailbox,
  Principal,
} from "../../src/mail/mail-store.ts";
import { indexMessage } from "../../src/mail/mime/indexer.ts";
import { allUids } from "../../src/mail/uid-set.ts";
import type { UidSet } from "../../src/mail/uid-set.ts";

/** 0 or absent: unlimited. */
export interface FixtureQuota {
  readonly quotaBytes?: number;
  readonly quotaMessages?: number;
}

/** A store under test with the operator's side of it. Every account is in the same shard. */
export interface MailStoreFixture {
  readonly store: MailStore;
  readonly addAccount: (quota?: FixtureQuota) => Promise<Principal>;
  /** A new state or password: raises credVersion. */
  readonly revoke: (who: Principal, how: "disable" | "password") => Promise<void>;
  readonly close: () => Promise<void>;
}

/** The signal of requests that nobody cancels; many may listen to it at once. */
export const never = new AbortController().signal;
setMaxListeners(0, never);

let operations = 0;
/** A change that was never asked for before. */
export function change(): Change {
  return { opId: opId((++operations).toString(16).padStart(32, "0")), retry: false };
}

/** The same change, asked for again. */
export function again<T extends Change>(request: T): T {
  return { ...request, retry: true };
}

export function message(subject: string, body = "Hello.\r\n"): Buffer {
  const date = "Date: Wed, 04 Mar 2026 10:00:00 +0000";
  return Buffer.from(`From: a@b.test\r\nSubject: ${subject}\r\n${date}\r\n\r\n${body}`);
}

export function deliverRequest(
  recipients: readonly (Principal & { readonly mailbox?: string })[],
  bytes: Uint8Array,
) {
  const [first] = recipients;
  if (first === undefined) throw new Error("a delivery has recipients");
  return {
    ...change(),
    shard: first.shard,
    deliveryId: deliveryId(`7ZZ${String(operations).padStart(23, "0")}`),
    recipients: recipients.map(({ account, mailbox }) =>
      mailbox === undefined ? { account } : { account, mailbox },
    ),
    source: { kind: "bytes" as const, bytes },
    index: indexMessage(bytes),
  };
}

/** Delivers to one INBOX and returns the UID. */
export async function deliver(
  store: MailStore,
  who: Principal,
  bytes: Uint8Array = message("a message"),
): Promise<number> {
  const outcomes = await store.deliver(deliverRequest([who], bytes), never);
  return stored(outcomes[0]).uid;
}

export function stored(
  outcome: DeliverOutcome | undefined,
): Extract<DeliverOutcome, { readonly ok: true }> {
  if (outcome?.ok !== true) throw new Error(`not stored: ${JSON.stringify(outcome)}`);
  return outcome;
}

export interface AppendOptions {
  readonly flags?: readonly string[];
  readonly internalDateMs?: number;
  readonly internalDateZone?: number;
}

export function appendMessage(bytes: Uint8Array, options: AppendOptions = {}) {
  const source = { kind: "bytes" as const, bytes };
  return { source, index: indexMessage(bytes), flags: [], ...options };
}

export function append(
  store: MailStore,
  who: Principal,
  mailbox: string,
  bytes: Uint8Array = message("appended"),
  options: AppendOptions = {},
): Promise<AppendOutcome> {
  const request = { ...change(), mailbox, messages: [appendMessage(bytes, options)] };
  return store.append(who, request, never);
}

export function open(store: MailStore, who: Principal, name = "INBOX"): Promise<OpenMailbox> {
  return store.openMailbox(who, { name, claimRecent: false }, never);
}

export function setFlags(
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
  uids: UidSet,
  mode: "add" | "remove" | "replace",
  flags: readonly string[],
) {
  return store.store(who, { ...change(), mailbox, uids, mode, flags }, never);
}

export function expunge(store: MailStore, who: Principal, mailbox: MailboxId) {
  return store.expunge(who, { ...change(), mailbox }, never);
}

/** A new account with a mailbox `target` besides INBOX. */
export async function withTarget(use: () => MailStoreFixture): Promise<{
  readonly store: MailStore;
  readonly who: Principal;
  readonly inbox: MailboxId;
}> {
  const { store, addAccount } = use();
  const who = await addAccount();
  await store.createMailbox(who, { ...change(), name: "target" }, never);
  return { store, who, inbox: (await open(store, who)).info.id };
}

/** The code with which a promise, or a stream on its first read, fails. */
export async function codeOf(
  failing: Promise<unknown> | AsyncIterable<unknown>,
): Promise<MailErrorCode | "none"> {
  try {
    if (Symbol.asyncIterator in failing) await failing[Symbol.asyncIterator]().next();
    else await failing;
    return "none";
  } catch (error) {
    if (isMailError(error)) return error.code;
    throw error;
  }
}

/** The answer for one message: item name as answered → its value, literals as their text. */
export type FetchedItems = ReadonlyMap<string, string>;

/** Fetches and reads what was rendered; keys in the order in which the messages came. */
export async function fetch(
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
  items: FetchItems,
  options: Partial<FetchRequest> = {},
): Promise<ReadonlyMap<number, FetchedItems>> {
  const request = { mailbox, uids: allUids, items, ...options };
  const bytes = new Map<number, Uint8Array[]>();
  let unfinished = 0;
  for await (const chunk of store.fetch(who, request, never)) {
    for (const part of partsOf(chunk)) {
      // A message goes on in the very next part, and only when that was said.
      expect(unfinished === 0 ? !bytes.has(part.uid) : part.uid === unfinished).toBe(true);
      bytes.set(part.uid, [...(bytes.get(part.uid) ?? []), Uint8Array.from(part.bytes)]);
      unfinished = part.more ? part.uid : 0;
    }
  }
  expect(unfinished).toBe(0);
  return new Map(
    Array.from(bytes, ([uid, pieces]) => [uid, readItems(uid, Buffer.concat(pieces))]),
  );
}

/** One item of one message. */
export async function fetchOne(
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
  uid: number,
  items: FetchItems,
): Promise<FetchedItems> {
  const all = await fetch(store, who, mailbox, items, { uids: [uid, uid] });
  const found = all.get(uid);
  if (found === undefined) throw new Error(`no message ${uid}`);
  return found;
}

/** Flags of each message, sorted. */
export async function flagsOf(
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
): Promise<Readonly<Record<number, readonly string[]>>> {
  const all = await fetch(store, who, mailbox, { flags: true });
  return Object.fromEntries(
    Array.from(all, ([uid, items]) => [uid, flagList(items.get("FLAGS") ?? "")]),
  );
}

export function flagList(value: string): readonly string[] {
  return value
    .slice(1, -1)
    .split(" ")
    .filter((flag) => flag !== "")
    .sort();
}

function readItems(uid: number, bytes: Buffer): FetchedItems {
  const text = bytes.toString("latin1");
  const items = new Map<string, string>();
  let at = 0;
  while (at < text.length) {
    const label = /[^ [\]]+(?:\[[^\]]*\](?:<\d+>)?)?/y;
    label.lastIndex = at;
    const name = label.exec(text)?.[0];
    if (name === undefined) throw new Error(`no item name at ${at} of ${JSON.stringify(text)}`);
    const [value, end] = readValue(text, at + name.length + 1);
    expect(items.has(name)).toBe(false);
    items.set(name, value);
    expect(end === text.length || text[end] === " ").toBe(true);
    at = end + 1;
  }
  expect(text.startsWith(`UID ${uid}`)).toBe(true);
  return items;
}

function readValue(text: string, at: number): readonly [string, number] {
  const literal = /~?\{(\d+)\}\r\n/y;
  literal.lastIndex = at;
  const found = literal.exec(text);
  if (found !== null) {
    const start = at + found[0].length;
    const end = start + Number(found[1]);
    expect(end).toBeLessThanOrEqual(text.length);
    return [text.slice(start, end), end];
  }
  if (text[at] === "(") {
    let end = at + 1;
    while (text[end] !== ")") {
      if (end >= text.length) throw new Error(`an open parenthesis in ${JSON.stringify(text)}`);
      end = text[end] === " " ? end + 1 : readValue(text, end)[1];
    }
    return [text.slice(at, end + 1), end + 1];
  }
  const atom = /"(?:[^"\\]|\\.)*"|[^ ()]+/y;
  atom.lastIndex = at;
  const value = atom.exec(text)?.[0];
  if (value === undefined) throw new Error(`no value at ${at} of ${JSON.stringify(text)}`);
  return [value.startsWith('"') ? value.slice(1, -1) : value, at + value.length];
}
