// What the entries of a log say when they are all that is left: who owns which message, as far as the
// log reaches back. Plain maps; a tool's state, not the engine's.

import type { AccountId, MailboxId } from "../mail/ids.ts";
import { uidSetHas } from "../mail/uid-set.ts";
import { addedRows, bodyTag, deliveredRow } from "./apply-rows.ts";
import type { BodyPart, MessageRow, Op, Payload } from "./entry-kind.ts";
import { KeywordSets } from "./flags.ts";
import type { Entry } from "./journal.ts";

export interface SalvagedMailbox {
  name: string;
  readonly keywords: KeywordSets;
  readonly messages: Map<number, MessageRow>;
}

export interface SalvagedAccount {
  name: string;
  readonly mailboxes: Map<MailboxId, SalvagedMailbox>;
}

/** Name of a body in maps. */
export function bodyName(tag: number, lsn: number): string {
  return `${tag}/${lsn}`;
}

export class SalvageState {
  readonly accounts = new Map<AccountId, SalvagedAccount>();
  /** Where in its entry a body lies, by bodyName. */
  readonly parts = new Map<string, BodyPart>();

  apply(entry: Entry, payload: Payload): void {
    if (payload.kind !== "deliver" && payload.kind !== "change") return;
    if (payload.kind === "deliver") {
      const { deliver } = payload;
      this.parts.set(bodyName(bodyTag(entry.shard, 0), entry.lsn), deliver.part);
      for (const to of deliver.recipients) {
        const row = deliveredRow(entry, deliver, to.uid, to.counters.modSeq);
        this.#mailbox(to.account, to.mailbox).messages.set(to.uid, row);
      }
      return;
    }
    const { account, parts, ops } = payload.change;
    for (const [at, part] of parts.entries()) {
      this.parts.set(bodyName(bodyTag(entry.shard, at), entry.lsn), part);
    }
    for (const op of ops) this.#apply(entry, account, op);
  }

  #apply(entry: Entry, account: AccountId, op: Op): void {
    switch (op.kind) {
      case "registration":
        this.#account(account).name = op.registration.name;
        return;
      case "mailbox":
        this.#mailbox(account, op.row.id).name = op.row.name;
        return;
      case "gone":
        this.#account(account).mailboxes.delete(op.mailbox);
        return;
      case "keywords":
        this.#mailbox(account, op.mailbox).keywords.add(op.set);
        return;
      case "add":
        for (const row of addedRows(entry, op.messages)) {
          this.#mailbox(account, op.mailbox).messages.set(row.uid, row);
        }
        return;
      case "flags": {
        const { messages } = this.#mailbox(account, op.mailbox);
        for (const [uid, row] of messages) {
          const group = op.groups.find(({ uids }) => uidSetHas(uids, uid));
          if (group !== undefined) messages.set(uid, { ...row, flags: group.flags });
        }
        return;
      }
      case "remove":
        for (const { uid } of op.messages) this.#mailbox(account, op.mailbox).messages.delete(uid);
        return;
      default:
        return;
    }
  }

  #account(id: AccountId): SalvagedAccount {
    let account = this.accounts.get(id);
    if (account === undefined) {
      account = { name: "", mailboxes: new Map() };
      this.accounts.set(id, account);
    }
    return account;
  }

  #mailbox(id: AccountId, mailbox: MailboxId): SalvagedMailbox {
    const { mailboxes } = this.#account(id);
    let found = mailboxes.get(mailbox);
    if (found === undefined) {
      found = { name: `mailbox-${mailbox}`, keywords: new KeywordSets(), messages: new Map() };
      mailboxes.set(mailbox, found);
    }
    return found;
  }
}
