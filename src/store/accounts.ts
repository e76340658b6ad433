// Registrations on the mail node (paper DS5): create, change, delete, list. Names and their claims are
// claims.ts's business; who may ask, and passwords, the directory service's.

import type { AccountState as State, Credentials, Registration } from "../mail/account.ts";
import { MailError } from "../mail/errors.ts";
import type { GroupSettings } from "../mail/group.ts";
import { accountId } from "../mail/ids.ts";
import type { AccountId, ShardId } from "../mail/ids.ts";
import type { Change } from "../mail/mail-store.ts";
import { normaliseMailboxName } from "../mail/mailbox-name.ts";
import { isOverQuota } from "./account-state.ts";
import type { AccountState } from "./account-state.ts";
import { background } from "./background.ts";
import { orAborted } from "./deferred.ts";
import type { Access, Engine } from "./engine.ts";
import { encodeChange } from "./entry-codec.ts";
import { entryKind } from "./entry-kind.ts";
import type { ChangePayload, Op } from "./entry-kind.ts";
import { accountInKey, accountKey, afterPrefix, shardKey, shardTable, table } from "./keyspace.ts";
import { NewMailboxes } from "./manage-mailboxes.ts";
import { changeExclusively, propose } from "./propose.ts";
import { openRow } from "./row.ts";
import { readQuota, readRegistrationRow } from "./rows.ts";

/** A mailbox that each new account gets. */
export interface FirstMailbox {
  readonly name: string;
  /** `\Sent`, … RFC 6154 */
  readonly specialUse?: string;
}

/** English names; the configuration has others. INBOX is made whether listed or not. */
export const firstMailboxes: readonly FirstMailbox[] = [
  { name: "INBOX" },
  { name: "Drafts", specialUse: "\\Drafts" },
  { name: "Sent", specialUse: "\\Sent" },
  { name: "Junk", specialUse: "\\Junk" },
  { name: "Trash", specialUse: "\\Trash" },
  { name: "Archive", specialUse: "\\Archive" },
];

export interface CreateAccount extends Change {
  /** Where the account is to live; its id was allotted with the name's claim. */
  readonly shard: ShardId;
  readonly account: AccountId;
  readonly name: string;
  readonly aliases: readonly string[];
  readonly credentials: Credentials;
  readonly quotaBytes: number;
  readonly quotaMessages: number;
  readonly profile: Readonly<Record<string, string>>;
  readonly mailboxes: readonly FirstMailbox[];
  /** From the claim: UIDVALIDITYs are higher than any an earlier account of this name had. */
  readonly uidValidityFloor: number;
  /** The account is a group. */
  readonly group?: GroupSettings;
}

/**
 * Creates the account, or finds it as this same request made it before.
 * @throws MailError CONFLICT (the id is in use by another name, or was fenced), WRONG_NODE
 */
export async function createAccount(
  engine: Engine,
  request: CreateAccount,
  signal: AbortSignal,
): Promise<Registration> {
  const registration: Registration = {
    account: request.account,
    name: request.name,
    aliases: request.aliases,
    state: "active",
    credentials: request.credentials,
    credVersion: 1,
    userVersion: 1,
    quotaBytes: request.quotaBytes,
    quotaMessages: request.quotaMessages,
    profile: request.profile,
    createdMs: engine.clock.nowMs(),
    ...(request.group === undefined ? {} : { group: request.group }),
  };
  const ops = firstOps(engine, request, registration);
  return putNewAccount(engine, request, registration, ops, signal);
}

/**
 * Sees to it that the account can never be created here: says whether it is there, after which an
 * older request to create it is refused.
 */
export async function fenceAccount(
  engine: Engine,
  request: Change & { readonly shard: ShardId; readonly account: AccountId },
  signal: AbortSignal,
): Promise<"exists" | "never"> {
  const existing = await registrationOf(engine, request.shard, request.account);
  if (existing !== undefined) return existing.state === "deleted" ? "never" : "exists";
  const tombstone = tombstoneOf(request.account, engine.clock.nowMs());
  const ops: Op[] = [{ kind: "registration", registration: tombstone }];
  const made = await putNewAccount(engine, { ...request, name: "" }, tombstone, ops, signal);
  return made.state === "deleted" ? "never" : "exists";
}

/** Fields to change; absent ones stay. */
export interface RegistrationPatch {
  readonly name?: string;
  readonly aliases?: readonly string[];
  readonly state?: Exclude<State, "deleted">;
  readonly credentials?: Credentials;
  readonly quotaBytes?: number;
  readonly quotaMessages?: number;
  readonly profile?: Readonly<Record<string, string>>;
}

/**
 * Changes a registration. Raises userVersion, and credVersion when password or state change, which
 * ends the sessions that were opened before. @throws MailError NO_SUCH_ACCOUNT
 */
export async function updateAccount(
  engine: Engine,
  access: Access,
  change: Change,
  patch: RegistrationPatch,
  signal: AbortSignal,
): Promise<Registration> {
  const asOperator: Access = { account: access.account, shard: access.shard };
  await changeExclusively(
    engine,
    asOperator,
    change,
    "none",
    async (account) => {
      const before = account.registration;
      const revokes =
        (patch.credentials !== undefined && patch.credentials.hash !== before.credentials.hash) ||
        (patch.state !== undefined && patch.state !== before.state);
      const registration: Registration = {
        ...before,
        ...patch,
        userVersion: before.userVersion + 1,
        credVersion: before.credVersion + (revokes ? 1 : 0),
      };
      return { ops: [{ kind: "registration", registration }], outcome: { kind: "none" } };
    },
    signal,
  );
  return mustRegistration(engine, access.shard, access.account);
}

/** Deletes the account for good; a tombstone stays. Its rows are swept later. @throws MailError NO_SUCH_ACCOUNT */
export async function deleteAccount(
  engine: Engine,
  access: Access,
  change: Change,
  signal: AbortSignal,
): Promise<Registration> {
  const asOperator: Access = { account: access.account, shard: access.shard };
  await changeExclusively(
    engine,
    asOperator,
    change,
    "none",
    async (account) => ({ ops: deletionOps(account), outcome: { kind: "none" } }),
    signal,
  );
  return mustRegistration(engine, access.shard, access.account);
}

/** A registration with its lsn in the shard's stream. */
export interface ListedRegistration {
  readonly lsn: number;
  readonly registration: Registration;
  readonly overQuota: boolean;
}

/** All registrations of a shard (tombstones too), by account id, in batches: a directory's snapshot. */
export async function* listRegistrations(
  engine: Engine,
  shard: ShardId,
): AsyncGenerator<readonly ListedRegistration[]> {
  const prefix = shardKey(shard, shardTable.account);
  for await (const rows of engine.rows.range(prefix, afterPrefix(prefix), 500)) {
    const ids = rows.map(([key]) => accountId(accountInKey(key, 4)));
    const keys = ids.flatMap((id) => [
      accountKey(id, table.registration),
      accountKey(id, table.quota),
    ]);
    const values = await engine.rows.getMany(keys);
    const listed: ListedRegistration[] = [];
    for (let at = 0; at < keys.length; at += 2) {
      const row = readAt(keys[at], values[at], readRegistrationRow);
      // A user who moved away left its key behind.
      if (row?.shard !== shard) continue;
      const use = readAt(keys[at + 1], values[at + 1], readQuota) ?? { bytes: 0, messages: 0 };
      const { lsn, registration } = row;
      listed.push({ lsn, registration, overQuota: isOverQuota(registration, use) });
    }
    yield listed;
  }
}

/** The registration of an account of this shard, tombstones too. */
export async function registrationOf(
  engine: Engine,
  shard: ShardId,
  account: AccountId,
): Promise<Registration | undefined> {
  const key = accountKey(account, table.registration);
  const row = readAt(key, await engine.rows.get(key), readRegistrationRow);
  engine.mustServe(shard);
  return row?.shard === shard ? row.registration : undefined;
}

async function mustRegistration(
  engine: Engine,
  shard: ShardId,
  account: AccountId,
): Promise<Registration> {
  const found = await registrationOf(engine, shard, account);
  if (found === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
  return found;
}

function firstOps(engine: Engine, request: CreateAccount, registration: Registration): Op[] {
  const fresh = new NewMailboxes(
    { nextMailboxId: 1, lastUidValidity: request.uidValidityFloor },
    engine.clock.nowMs(),
  );
  const ops: Op[] = [{ kind: "registration", registration }];
  const names = new Set<string>();
  for (const { name: given, specialUse } of [{ name: "INBOX" }, ...request.mailboxes].map(
    asFirst,
  )) {
    const name = normaliseMailboxName(given);
    if (!name.ok) throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: given, why: name.why });
    if (names.has(name.name)) continue;
    names.add(name.name);
    ops.push(...fresh.add(name.name, specialUse));
    // Clients that list subscribed names only would show nothing else.
    ops.push({ kind: "subscribe", name: name.name, on: true });
  }
  ops.push(fresh.accountOp(), { kind: "quota", use: { bytes: 0, messages: 0 } });
  return ops;
}

function asFirst(mailbox: FirstMailbox): { readonly name: string; readonly specialUse: string } {
  return { name: mailbox.name, specialUse: mailbox.specialUse ?? "" };
}

async function putNewAccount(
  engine: Engine,
  request: Change & { readonly shard: ShardId; readonly account: AccountId; readonly name: string },
  registration: Registration,
  ops: readonly Op[],
  signal: AbortSignal,
): Promise<Registration> {
  const { shard, account, name, opId } = request;
  engine.mustServe(shard);
  const lock = engine.shardLock(shard);
  await lock.exclusive(signal);
  let release: (() => void) | undefined = () => lock.releaseExclusive();
  try {
    // As for claims: what the one before us proposed may not be applied yet.
    engine.mustServe(shard);
    const existing = await registrationOf(engine, shard, account);
    if (existing !== undefined) {
      if (existing.name === name) return existing;
      throw new MailError({ code: "CONFLICT", why: "the account id is in use" });
    }
    const change: ChangePayload = {
      account,
      timeMs: engine.clock.nowMs(),
      parts: [],
      statics: [],
      ops,
      outcome: new Uint8Array(0),
    };
    const committed = propose(engine, {
      shard,
      opId,
      kind: entryKind.change,
      head: encodeChange(change),
      payload: { kind: "change", change },
      accounts: [],
    });
    background(engine.pending.applied(opId).finally(release));
    release = undefined;
    await orAborted(committed, signal);
    return registration;
  } finally {
    release?.();
  }
}

function deletionOps(account: AccountState): Op[] {
  const tombstone: Registration = {
    ...tombstoneOf(account.id, account.registration.createdMs),
    name: account.registration.name,
    userVersion: account.registration.userVersion + 1,
    credVersion: account.registration.credVersion + 1,
  };
  return [
    ...Array.from(account.mailboxes.keys(), (mailbox): Op => ({ kind: "gone", mailbox })),
    ...Array.from(account.subscriptions, (name): Op => ({ kind: "subscribe", name, on: false })),
    { kind: "quota", use: { bytes: 0, messages: 0 } },
    { kind: "registration", registration: tombstone },
  ];
}

function tombstoneOf(account: AccountId, createdMs: number): Registration {
  return {
    account,
    name: "",
    aliases: [],
    state: "deleted",
    credentials: { hash: "" },
    credVersion: 1,
    userVersion: 1,
    quotaBytes: 0,
    quotaMessages: 0,
    profile: {},
    createdMs,
  };
}

function readAt<T>(
  key: Buffer | undefined,
  value: Buffer | undefined,
  read: (reader: ReturnType<typeof openRow>) => T,
): T | undefined {
  return key === undefined || value === undefined ? undefined : read(openRow(key, value));
}
