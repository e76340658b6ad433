// CREATE, DELETE, RENAME, SUBSCRIBE. Superior names need no mailbox of their own: they are derived
// from the names below them (list.ts), so CREATE a/b/c makes one mailbox.

import { MailError } from "../mail/errors.ts";
import { mailboxId } from "../mail/ids.ts";
import type { Change, MailboxInfo, Principal } from "../mail/mail-store.ts";
import { normaliseMailboxName } from "../mail/mailbox-name.ts";
import type { AccountState } from "./account-state.ts";
import { additionOf } from "./copy.ts";
import type { Engine } from "./engine.ts";
import { emptyCounters } from "./entry-kind.ts";
import type { Counters, Op } from "./entry-kind.ts";
import { removalOf, removalOps } from "./expunge.ts";
import { Columns } from "./columns.ts";
import { KeywordSets } from "./flags.ts";
import type { StoreLimits } from "./limits.ts";
import { infoOf, mailboxesBelow, mailboxNamed } from "./list.ts";
import { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import { changeExclusively } from "./propose.ts";

/** @see MailStore.createMailbox */
export async function createMailbox(
  engine: Engine,
  who: Principal,
  request: Change & { readonly name: string; readonly specialUse?: string },
  signal: AbortSignal,
): Promise<MailboxInfo> {
  const outcome = await changeExclusively(
    engine,
    who,
    request,
    "created",
    async (account) => {
      const name = nameFrom(request.name);
      if (account.byName.has(name)) throw new MailError({ code: "MAILBOX_EXISTS", mailbox: name });
      mustHaveRoom(account, engine.limits);
      const fresh = new NewMailboxes(account, engine.clock.nowMs());
      const ops = fresh.add(name, request.specialUse ?? "");
      return {
        ops: [...ops, fresh.accountOp()],
        outcome: { kind: "created", mailbox: fresh.last },
      };
    },
    signal,
  );
  return engine.withAccount(who, (account) =>
    Promise.resolve(infoOf(account, account.mailbox(outcome.mailbox))),
  );
}

/** @see MailStore.deleteMailbox, RFC 9051 §6.3.5 */
export async function deleteMailbox(
  engine: Engine,
  who: Principal,
  request: Change & { readonly name: string },
  signal: AbortSignal,
): Promise<void> {
  await changeExclusively(
    engine,
    who,
    request,
    "none",
    async (account) => {
      const given = normaliseMailboxName(request.name);
      if (given.ok && given.name === "INBOX") {
        throw new MailError({
          code: "BAD_MAILBOX_NAME",
          mailbox: "INBOX",
          why: "INBOX can't be deleted",
        });
      }
      if (
        given.ok &&
        !account.byName.has(given.name) &&
        mailboxesBelow(account, given.name).length > 0
      ) {
        throw new MailError({ code: "MAILBOX_HAS_CHILDREN", mailbox: given.name });
      }
      const mailbox = mailboxNamed(account, request.name);
      const { sizeBytes, messages } = mailbox.counters;
      const use = {
        bytes: account.quota.bytes - sizeBytes,
        messages: account.quota.messages - messages,
      };
      return {
        ops: [
          { kind: "gone", mailbox: mailbox.id },
          { kind: "quota", use },
        ],
        outcome: { kind: "none" },
      };
    },
    signal,
  );
}

/** @see MailStore.renameMailbox, RFC 9051 §6.3.6 */
export async function renameMailbox(
  engine: Engine,
  who: Principal,
  request: Change & { readonly from: string; readonly to: string },
  signal: AbortSignal,
): Promise<void> {
  await changeExclusively(
    engine,
    who,
    request,
    "none",
    async (account) => {
      const to = nameFrom(request.to);
      if (account.byName.has(to)) throw new MailError({ code: "MAILBOX_EXISTS", mailbox: to });
      const from = normaliseMailboxName(request.from);
      const name = from.ok ? from.name : undefined;
      const ops =
        name === "INBOX"
          ? await renameInbox(engine, account, to)
          : renameTree(account, name, to, request.from);
      return { ops, outcome: { kind: "none" } };
    },
    signal,
  );
}

/** @see MailStore.setSubscribed, RFC 9051 §6.3.7 */
export async function setSubscribed(
  engine: Engine,
  who: Principal,
  request: Change & { readonly name: string; readonly subscribed: boolean },
  signal: AbortSignal,
): Promise<void> {
  await changeExclusively(
    engine,
    who,
    request,
    "none",
    async (account) => {
      const name = nameFrom(request.name);
      const { subscribed } = request;
      const { subscriptionsMax: most } = engine.limits;
      if (subscribed && account.subscriptions.size >= most) {
        throw new MailError({ code: "LIMIT", limit: "subscriptions", most });
      }
      const ops: Op[] =
        account.subscriptions.has(name) === subscribed
          ? []
          : [{ kind: "subscribe", name, on: subscribed }];
      return { ops, outcome: { kind: "none" } };
    },
    signal,
  );
}

/** Ids and UIDVALIDITYs for mailboxes that an entry creates. */
export class NewMailboxes {
  #nextMailboxId: number;
  #lastUidValidity: number;
  readonly #seconds: number;

  constructor(account: Pick<AccountState, "nextMailboxId" | "lastUidValidity">, nowMs: number) {
    this.#nextMailboxId = account.nextMailboxId;
    this.#lastUidValidity = account.lastUidValidity;
    this.#seconds = Math.floor(nowMs / 1000);
  }

  /** Id of the mailbox added last. */
  get last(): MailboxState["id"] {
    return mailboxId(this.#nextMailboxId - 1);
  }

  /**
   * RFC 9051 §2.3.1.1: a name never gets a UIDVALIDITY again, also after DELETE and a clock that went
   * back. One rising number per account is enough for that.
   */
  add(name: string, specialUse: string, counters: Counters = emptyCounters): Op[] {
    this.#lastUidValidity = Math.max(this.#seconds, this.#lastUidValidity + 1);
    const id = mailboxId(this.#nextMailboxId++);
    const row = { id, name, uidValidity: this.#lastUidValidity, specialUse };
    return [
      { kind: "mailbox", row },
      { kind: "counters", mailbox: id, counters },
    ];
  }

  accountOp(): Op {
    return {
      kind: "account",
      nextMailboxId: this.#nextMailboxId,
      lastUidValidity: this.#lastUidValidity,
    };
  }
}

/** RFC 9051 §6.3.6: the messages of INBOX go to a new mailbox, INBOX stays, and what is below it. */
function renameInbox(engine: Engine, account: AccountState, to: string): Promise<Op[]> {
  mustHaveRoom(account, engine.limits);
  const inbox = account.named("INBOX", "INBOX");
  return engine.withSummary(account, inbox, (from) => {
    const most = engine.limits.messagesPerChangeMax;
    const { count } = from.columns;
    if (count > most) throw new MailError({ code: "LIMIT", limit: "messagesPerChangeMax", most });
    const chosen = Array.from({ length: count }, (_, at) => at);
    const fresh = new NewMailboxes(account, engine.clock.nowMs());
    const created = fresh.add(to, "");
    const target = new MailboxState(
      { id: fresh.last, name: to, uidValidity: 0, specialUse: "" },
      emptyCounters,
    );
    const empty = new MailboxSummary(new Columns(0), new KeywordSets(), 0, [], 0);
    const addition = additionOf(engine, { from, target, to: empty }, emptyCounters, chosen);
    const ops = [...created, fresh.accountOp(), ...addition.ops];
    if (count > 0) {
      const removal = removalOf(inbox.counters, from.columns, chosen);
      ops.push(...removalOps(inbox, removal, true));
    }
    return ops;
  });
}

function renameTree(
  account: AccountState,
  from: string | undefined,
  to: string,
  asked: string,
): Op[] {
  const own = from === undefined ? undefined : account.byName.get(from);
  const moving = from === undefined ? [] : [...mailboxesBelow(account, from)];
  if (own !== undefined) moving.push(own);
  if (from === undefined || moving.length === 0) {
    throw new MailError({ code: "NO_SUCH_MAILBOX", mailbox: asked });
  }
  if (to.startsWith(`${from}/`)) {
    throw new MailError({
      code: "BAD_MAILBOX_NAME",
      mailbox: to,
      why: "it would be below itself",
    });
  }
  return moving.map((mailbox) => {
    const name = nameFrom(to + mailbox.name.slice(from.length));
    if (account.byName.has(name)) throw new MailError({ code: "MAILBOX_EXISTS", mailbox: name });
    const { id, uidValidity, specialUse } = mailbox;
    return { kind: "mailbox", row: { id, name, uidValidity, specialUse } };
  });
}

/** @throws MailError BAD_MAILBOX_NAME */
function nameFrom(given: string): string {
  const name = normaliseMailboxName(given);
  if (name.ok) return name.name;
  throw new MailError({ code: "BAD_MAILBOX_NAME", mailbox: given, why: name.why });
}

function mustHaveRoom(account: AccountState, limits: StoreLimits): void {
  const most = limits.mailboxesMax;
  if (account.mailboxes.size >= most)
    throw new MailError({ code: "LIMIT", limit: "mailboxes", most });
}
