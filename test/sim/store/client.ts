// A client of a cluster with the real store: delivers, flags, copies, moves, removes and reads through
// its gateway's routed store, one request after the other, and holds each answer against the ledger.

import { setMaxListeners } from "node:events";
import { isMailError } from "../../../src/mail/errors.ts";
import { partsOf } from "../../../src/mail/fetch-parts.ts";
import { deliveryId, opId } from "../../../src/mail/ids.ts";
import { indexMessage } from "../../../src/mail/mime/indexer.ts";
import type { Change, FetchItems, MailStore } from "../../../src/mail/mail-store.ts";
import type { MessageSource } from "../../../src/mail/delivery.ts";
import type { GatewayProcess } from "../world/gateway.ts";
import type { AccountLedger, MailboxLedger, Shown } from "./ledger.ts";
import { OneByOne } from "./one-by-one.ts";
import type { StoreCluster } from "./world.ts";

const triesMax = 3;
const pauseMs = 30;
const keywords = ["$Kilo", "$Lima", "$Mike"];
const everyUid = [1, 0xffffffff] as const;
const items: FetchItems = {
  flags: true,
  modSeq: true,
  sections: [{ path: [], kind: "fields", fields: ["Message-ID"], label: "BODY[HEADER.FIELDS]" }],
};
const never = new AbortController().signal;
setMaxListeners(0, never);

export class StoreClient extends OneByOne {
  readonly #store: MailStore;

  constructor(world: StoreCluster, gateway: GatewayProcess, store: MailStore) {
    super(world, gateway);
    this.#store = store;
  }

  protected begin(): Promise<unknown> | undefined {
    const account = this.world.draws.pick(this.world.accounts);
    return account === undefined ? undefined : this.#act(account);
  }

  /** Looks at everything an account has. */
  async readAll(account: AccountLedger): Promise<boolean> {
    const inbox = await this.#read(account, account.inbox, "INBOX");
    return (await this.#read(account, account.archive, "Archive")) && inbox;
  }

  async #act(account: AccountLedger): Promise<void> {
    const { draws } = this.world;
    const at = draws.below(100);
    if (at < 40) return this.#deliver(account);
    if (at < 65) {
      if (draws.chance(0.7)) await this.#read(account, account.inbox, "INBOX");
      else await this.#read(account, account.archive, "Archive");
      return undefined;
    }
    const target = draws.pick(account.inbox.stable);
    if (target === undefined) return undefined;
    this.world.trace(() => `client asks ${at} of ${account.who.account} UID ${target.uid}`);
    if (at < 80) return this.#flag(account, target.uid);
    if (at < 88) return this.#expunge(account, target.uid);
    return this.#copy(account, target, at < 94);
  }

  async #deliver(account: AccountLedger): Promise<void> {
    const { draws, plan } = this.world;
    const { shard, account: id } = account.who;
    const token = `T${this.world.nextOp()}T`;
    const large = draws.chance(plan.large);
    const text = `body of ${token}\r\n`.repeat(large ? 300 : 1 + draws.below(20));
    const head = `From: a@sim.test\r\nSubject: ${token}\r\nMessage-ID: <${token}@sim.test>\r\n\r\n`;
    const bytes = Buffer.from(head + text);
    const index = indexMessage(bytes);
    const delivery = deliveryId(draws.random.hex(16));
    const inline: MessageSource = { kind: "bytes", bytes };
    const source = large ? await this.#blob(account, delivery, bytes) : inline;
    if (source === undefined) return;
    const outcomes = await this.#change(
      (change) => {
        // With the rule broken that one is known again each try is a delivery of its own.
        const own = this.world.broken === "dedupe" ? deliveryId(change.opId) : delivery;
        const request = { ...change, shard, deliveryId: own, recipients: [{ account: id }] };
        return this.#store.deliver({ ...request, source, index }, never);
      },
      ([first]) => first?.ok === true,
    );
    const outcome = outcomes?.[0];
    this.world.trace(() => `client has ${token} of ${id}: ${JSON.stringify(outcome)}`);
    if (outcome?.ok === true) account.inbox.added(outcome.uid, token, outcome.uidValidity);
  }

  async #blob(
    { who }: AccountLedger,
    delivery: string,
    bytes: Buffer,
  ): Promise<MessageSource | undefined> {
    const pieces = async function* () {
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    };
    try {
      const blob = await this.#store.writeBlob(who.shard, delivery, pieces(), never);
      return { kind: "blob", blob };
    } catch (error) {
      if (!isMailError(error)) throw error;
      return undefined;
    }
  }

  async #flag(account: AccountLedger, uid: number): Promise<void> {
    const keyword = this.world.draws.pick(keywords) ?? "$Kilo";
    const mailbox = await this.#mailbox(account, "INBOX");
    if (mailbox === undefined) return;
    const outcome = await this.#change(
      (change) => {
        const request = { ...change, mailbox, uids: [uid, uid], mode: "add" } as const;
        return this.#store.store(account.who, { ...request, flags: [keyword] }, never);
      },
      (result) => result.changed === true,
    );
    if (outcome?.stored.some((one) => one.uid === uid) === true)
      account.inbox.flagged(uid, keyword);
  }

  async #expunge(account: AccountLedger, uid: number): Promise<void> {
    const mailbox = await this.#mailbox(account, "INBOX");
    if (mailbox === undefined) return;
    account.inbox.removing(uid);
    const outcome = await this.#change(
      (change) => {
        const request = { ...change, mailbox, uids: [uid, uid], force: true } as const;
        return this.#store.expunge(account.who, request, never);
      },
      ({ expunged }) => expunged.length > 0,
    );
    if (outcome !== undefined) account.inbox.removed(uid);
  }

  async #copy(
    account: AccountLedger,
    { uid, token }: { readonly uid: number; readonly token: string },
    move: boolean,
  ): Promise<void> {
    const mailbox = await this.#mailbox(account, "INBOX");
    if (mailbox === undefined) return;
    if (move) account.inbox.removing(uid);
    account.copying(token);
    const outcome = await this.#change(
      (change) => {
        const request = { ...change, mailbox, uids: [uid, uid], target: "Archive" } as const;
        return move
          ? this.#store.move(account.who, request, never)
          : this.#store.copy(account.who, request, never);
      },
      ({ to }) => to.length > 0,
    );
    if (outcome === undefined) return;
    if (move) account.inbox.removed(uid);
    for (const to of outcome.to) account.archive.added(to, token, outcome.uidValidity);
  }

  async #mailbox({ who }: AccountLedger, name: string) {
    try {
      return (await this.#store.mailboxStatus(who, name, never)).id;
    } catch (error) {
      if (!isMailError(error)) throw error;
      return undefined;
    }
  }

  /** A change with one operation id through all tries; undefined when its outcome stays unknown. */
  async #change<T>(
    run: (change: Change) => Promise<T>,
    changed: (result: T) => boolean,
  ): Promise<T | undefined> {
    const { draws, broken } = this.world;
    let id = opId(draws.random.hex(16));
    for (let tries = 0; tries < triesMax; tries++) {
      try {
        const result = await run({ opId: id, retry: tries > 0 });
        // What changed nothing left no trace.
        if (changed(result)) this.world.acked(id);
        return result;
      } catch (error) {
        if (!isMailError(error)) throw error;
        const { code } = error;
        if (code !== "UNAVAILABLE" && code !== "REPLICA_UNREACHABLE" && code !== "BUSY") {
          return undefined;
        }
        await this.#pause();
        if (broken === "dedupe") id = opId(draws.random.hex(16));
      }
    }
    return undefined;
  }

  async #read(account: AccountLedger, ledger: MailboxLedger, name: string): Promise<boolean> {
    const expected = ledger.expected();
    const { who } = account;
    try {
      const { info, uids } = await this.#store.openMailbox(
        who,
        { name, claimRecent: false },
        never,
      );
      const texts = new Map<number, string>();
      const request = { mailbox: info.id, uids: everyUid, items };
      for await (const chunk of this.#store.fetch(who, request, never)) {
        for (const { uid, bytes } of partsOf(chunk)) {
          const text = Buffer.from(bytes).toString("latin1");
          texts.set(uid, (texts.get(uid) ?? "") + text);
        }
      }
      const messages = new Map<number, { token: string; text: string }>();
      for (const [uid, text] of texts) {
        messages.set(uid, { token: /T\d+T/.exec(text)?.[0] ?? "", text });
      }
      const { uidValidity, uidNext, highestModSeq: modSeq } = info;
      const shown: Shown = { uidValidity, uidNext, modSeq, uids: [...uids], messages };
      ledger.check(expected, shown, (token) =>
        ledger === account.inbox ? 1 : account.copies(token),
      );
      this.world.reads += 1;
      return true;
    } catch (error) {
      if (!isMailError(error)) throw error;
      return false;
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.gateway.life.main.after(pauseMs, () => {
        this.world.busy = true;
        resolve();
      });
    });
  }
}
