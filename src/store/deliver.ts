// Delivery: one message for any number of accounts of a shard, one entry, one body. Deliveries to an
// account pipeline: UID, MODSEQ and quota are taken when the entry is proposed, not when it is committed.

import { crashPoint, primeCrashPoint } from "../lib/crash-point.ts";
import { ulidMs } from "../lib/id-maker.ts";
import { MailError } from "../mail/errors.ts";
import type { MailFailure } from "../mail/errors.ts";
import { uid, uidMax, uidValidity } from "../mail/ids.ts";
import type { AccountId } from "../mail/ids.ts";
import type {
  DeliverOutcome,
  DeliverRecipient,
  DeliverRequest,
  MessageSource,
} from "../mail/mail-store.ts";
import { normaliseMailboxName } from "../mail/mailbox-name.ts";
import type { AccountState } from "./account-state.ts";
import { quotaAfter, useAfter } from "./account-state.ts";
import { orAborted } from "./deferred.ts";
import type { Engine } from "./engine.ts";
import { encodeDeliver } from "./entry-codec.ts";
import { entryKind } from "./entry-kind.ts";
import type { BodyPart, DeliverPayload, DeliverTo } from "./entry-kind.ts";
import { deliveryKey } from "./keyspace.ts";
import { withMessage } from "./mailbox-state.ts";
import type { MailboxState } from "./mailbox-state.ts";
import { propose } from "./propose.ts";
import { openRow } from "./row.ts";
import { readDelivered } from "./rows.ts";
import { encodeStatic } from "./static-row.ts";
import type { Unconfirmed } from "./unconfirmed.ts";
import { findTwin, settleTwin } from "./twin.ts";
import type { Answered } from "./twin.ts";

/** @see MailStore.deliver */
export async function deliver(
  engine: Engine,
  request: DeliverRequest,
  signal: AbortSignal,
): Promise<readonly DeliverOutcome[]> {
  engine.mustServe(request.shard);
  const { opId } = request;
  const again = engine.pending.isAgain(opId, request.retry);
  while (engine.pending.has(opId)) await orAborted(engine.pending.finished(opId), signal);
  return engine.pending.request(opId, () =>
    again
      ? deliverAgain(engine, request, signal)
      : deliverNew(engine, request, request.recipients, signal),
  );
}

/** A repeated delivery: recipients that have the message already keep it, the others get it now. */
async function deliverAgain(
  engine: Engine,
  request: DeliverRequest,
  signal: AbortSignal,
): Promise<readonly DeliverOutcome[]> {
  const kept = await Promise.all(
    request.recipients.map(({ account }) => keptDelivery(engine, request, account)),
  );
  const missing = request.recipients.filter((_, at) => kept[at] === undefined);
  if (missing.length < kept.length) await engine.settled(request.shard);
  if (missing.length === 0) engine.mustServe(request.shard);
  const fresh = missing.length === 0 ? [] : await deliverNew(engine, request, missing, signal);
  let next = 0;
  return kept.map((outcome) => outcome ?? fresh[next++] ?? failed({ code: "NO_SUCH_ACCOUNT" }));
}

async function deliverNew(
  engine: Engine,
  request: DeliverRequest,
  recipients: readonly DeliverRecipient[],
  signal: AbortSignal,
): Promise<readonly DeliverOutcome[]> {
  await checkSource(engine, request.source);
  if (engine.rows.full) await orAborted(engine.rows.room(), signal);
  const accounts = new Map<AccountId, AccountState>();
  const begunMs = ulidMs(request.deliveryId);
  try {
    await pinAccounts(engine, recipients, accounts);
    let running: ProposedDelivery | undefined;
    for (const answered: Answered = new Map(); running === undefined; ) {
      const held = await lockShared([...accounts.values()], signal);
      let twin: Unconfirmed | undefined;
      try {
        engine.mustServe(request.shard);
        twin = findTwin(engine, begunMs, recipients, answered);
        if (twin === undefined) {
          running = evaluate(engine, request, recipients, accounts, answered);
        }
      } finally {
        for (const account of held) account.lock.releaseShared();
      }
      if (twin !== undefined) {
        await settleTwin(engine, request, twin, accounts, answered, signal);
      }
    }
    // Not until `signal` aborts: it is committed or refused within seconds, whoever waits for it.
    if (running.committed !== undefined) await running.committed;
    crashPoint("primary.afterCommit");
    for (const mailbox of running.mailboxes) engine.accounts.tidy(mailbox[0], mailbox[1]);
    return running.outcomes;
  } finally {
    for (const account of accounts.values()) account.pins--;
  }
}

interface ProposedDelivery {
  readonly outcomes: readonly DeliverOutcome[];
  readonly mailboxes: readonly (readonly [AccountState, MailboxState])[];
  readonly committed: Promise<void> | undefined;
}

/** Gives each recipient its UID and proposes the entry: without waiting in between. */
function evaluate(
  engine: Engine,
  request: DeliverRequest,
  recipients: readonly DeliverRecipient[],
  accounts: ReadonlyMap<AccountId, AccountState>,
  answered: Answered,
): ProposedDelivery {
  const size = request.index.sizeBytes;
  const outcomes: DeliverOutcome[] = [];
  const targets: DeliverTo[] = [];
  const fingerprints: string[] = [];
  const mailboxes: [AccountState, MailboxState][] = [];
  const done = new Map<AccountId, DeliverOutcome>();
  for (const recipient of recipients) {
    const { fingerprint = "" } = recipient;
    const known = done.get(recipient.account) ?? answered.get(fingerprint);
    if (known !== undefined) {
      outcomes.push(known);
      continue;
    }
    const outcome = outcomeOf(() => {
      const account = engine.liveAccount(accounts.get(recipient.account), request.shard);
      const mailbox = targetOf(account, recipient.mailbox);
      const target = targetFor(account, mailbox, size, request.accepted === true);
      targets.push(target);
      fingerprints.push(fingerprint);
      mailboxes.push([account, mailbox]);
      return {
        ok: true,
        mailbox: mailbox.id,
        uidValidity: uidValidity(target.uidValidity),
        uid: uid(target.uid),
      };
    });
    done.set(recipient.account, outcome);
    outcomes.push(outcome);
  }
  if (targets.length === 0) return { outcomes, mailboxes, committed: undefined };
  engine.mustTakeMail(request.shard);
  const committed = proposeDelivery(engine, request, targets, fingerprints, mailboxes);
  targets.forEach((target, at) => {
    const [account, mailbox] = mailboxes[at] ?? [];
    if (account !== undefined) account.nextQuota = target.quota;
    if (mailbox !== undefined) mailbox.next = target.counters;
  });
  return { outcomes, mailboxes, committed };
}

function proposeDelivery(
  engine: Engine,
  request: DeliverRequest,
  recipients: readonly DeliverTo[],
  fingerprints: readonly string[],
  mailboxes: ProposedDelivery["mailboxes"],
): Promise<void> {
  const { unconfirmed } = engine;
  const confirmed = unconfirmed.take(request.shard);
  primeCrashPoint("primary");
  crashPoint("primary.beforeAppend");
  if (confirmed !== undefined) crashPoint("confirm.beforeAppend");
  const deliverPayload: DeliverPayload = {
    timeMs: engine.clock.nowMs(),
    deliveryId: request.deliveryId,
    part: partOf(request.source, 0),
    static: encodeStatic(request.index),
    size: request.index.sizeBytes,
    recipients,
    ...(fingerprints.every((each) => each === "") ? {} : { fingerprints }),
    ...(confirmed === undefined ? {} : { confirmed }),
  };
  const committed = propose(engine, {
    shard: request.shard,
    opId: request.opId,
    kind: entryKind.deliver,
    head: encodeDeliver(deliverPayload),
    payload: { kind: "deliver", deliver: deliverPayload },
    ...(request.source.kind === "bytes"
      ? { body: request.source.bytes }
      : { blobs: [request.source.blob.id] }),
    accounts: mailboxes.map(([account]) => account),
  });
  crashPoint("primary.afterAppend");
  unconfirmed.proposed(request.shard, request.opId, deliverPayload);
  if (unconfirmed.takeEarly(request.opId)) unconfirmed.confirm(request.shard, [request.opId]);
  return committed;
}

/** The message as the next one of a mailbox. @throws MailError OVER_QUOTA unless accepted, LIMIT */
function targetFor(
  account: AccountState,
  mailbox: MailboxState,
  size: number,
  accepted: boolean,
): DeliverTo {
  const { next } = mailbox;
  if (next.uidNext >= uidMax) throw new MailError({ code: "LIMIT", limit: "uid", most: uidMax });
  const quota = accepted ? useAfter(account, size, 1) : quotaAfter(account, size, 1);
  return {
    account: account.id,
    mailbox: mailbox.id,
    uidValidity: mailbox.uidValidity,
    uid: next.uidNext,
    counters: withMessage(next, 0, size),
    quota,
  };
}

function targetOf(account: AccountState, wanted: string | undefined): MailboxState {
  if (wanted !== undefined && wanted !== "INBOX") {
    const name = normaliseMailboxName(wanted);
    const found = name.ok ? account.byName.get(name.name) : undefined;
    if (found !== undefined) return found;
  }
  return account.named("INBOX", "INBOX");
}

/** How the bytes of a source are named in its entry. @param offset within the entry's body. */
export function partOf(source: MessageSource, offset: number): BodyPart {
  if (source.kind === "bytes") {
    const { bytes } = source;
    return { kind: "inline", offset, length: bytes.length };
  }
  const { id, sizeBytes, sha256 } = source.blob;
  return { kind: "blob", id, length: sizeBytes, sha256 };
}

/** @throws MailError LIMIT (too large to be inline), UNAVAILABLE (the blob is not here) */
export async function checkSource(engine: Engine, source: MessageSource): Promise<void> {
  if (source.kind === "bytes") {
    const most = engine.limits.inlineBytesMax;
    if (source.bytes.length > most)
      throw new MailError({ code: "LIMIT", limit: "inlineBytesMax", most });
    return;
  }
  if (!(await engine.bodies.hasBlob(source.blob))) {
    throw new MailError({ code: "UNAVAILABLE", why: "the message's bytes are not on this node" });
  }
}

async function pinAccounts(
  engine: Engine,
  recipients: readonly DeliverRecipient[],
  pinned: Map<AccountId, AccountState>,
): Promise<void> {
  for (const { account: id } of recipients) {
    if (pinned.has(id)) continue;
    const found = engine.accounts.pin(id);
    const account = found instanceof Promise ? await found : found;
    if (account !== undefined) pinned.set(id, account);
  }
}

/** Takes all locks in ascending order of account, so that no two deliveries wait for each other. */
async function lockShared(
  accounts: AccountState[],
  signal: AbortSignal,
): Promise<readonly AccountState[]> {
  if (accounts.length > 1) accounts.sort((a, b) => a.id - b.id);
  const held: AccountState[] = [];
  try {
    for (const account of accounts) {
      if (!account.lock.tryShared()) await account.lock.shared(signal);
      held.push(account);
    }
    return held;
  } catch (error) {
    for (const account of held) account.lock.releaseShared();
    throw error;
  }
}

async function keptDelivery(
  engine: Engine,
  { shard, deliveryId }: DeliverRequest,
  account: AccountId,
): Promise<DeliverOutcome | undefined> {
  const key = deliveryKey(account, deliveryId);
  const value = await engine.rows.get(key);
  if (value === undefined) return undefined;
  const row = readDelivered(openRow(key, value));
  if (engine.ageMs(shard, row.timeMs) > engine.limits.outcomeKeptMs) return undefined;
  return {
    ok: true,
    mailbox: row.mailbox,
    uidValidity: uidValidity(row.uidValidity),
    uid: uid(row.uid),
  };
}

function outcomeOf(run: () => DeliverOutcome): DeliverOutcome {
  try {
    return run();
  } catch (error) {
    if (error instanceof MailError) return failed(error.failure);
    throw error;
  }
}

function failed(failure: MailFailure): DeliverOutcome {
  return { ok: false, failure };
}
