// A MailStore in plain RAM: the simplest implementation that is right. It is the oracle of the
// conformance suite and stands behind front-ends in tests that need no cluster. Nothing is bounded
// but what clients may see as a limit; nothing is ever written anywhere.

import { MailError } from "../../src/mail/errors.ts";
import { uidSetFromSorted, uidSetHas } from "../../src/mail/uid-set.ts";
import type { AccountId, MailboxId, OpId, ShardId, Uid } from "../../src/mail/ids.ts";
import type * as Mail from "../../src/mail/mail-store.ts";
import type { Quota } from "../../src/mail/quota.ts";
import type { SpoolRequest } from "../../src/mail/spool.ts";
import * as accounts from "./fake/account.ts";
import type { FakeAccount, NewMessage } from "./fake/account.ts";
import { FakeAccounts } from "./fake/accounts.ts";
import { annotate, annotationsOf } from "./fake/annotations.ts";
import { ulidMs } from "../../src/lib/id-maker.ts";
import { appendMessages } from "./fake/append.ts";
import { FakeBlobs } from "./fake/blobs.ts";
import { EventQueue } from "./fake/event-queue.ts";
import { fetchChunks, flagsOf } from "./fake/fetch.ts";
import { holdMaildrop } from "./fake/maildrop.ts";
import * as tree from "./fake/mailbox-tree.ts";
import { applyFlags, copyMessages, deliverTo, moveMessages } from "./fake/messages.ts";
import { Outcomes } from "./fake/outcomes.ts";
import { FakeUnconfirmed } from "./fake/unconfirmed.ts";
import { searchOutcome } from "./fake/search.ts";

const pieceBytesMax = 64 * 1024;

export class FakeMailStore extends FakeAccounts implements Mail.MailStore {
  readonly #blobs = new FakeBlobs();
  readonly #unconfirmed = new FakeUnconfirmed();
  readonly #nowMs: () => number;
  readonly #kept = {
    deliver: new Outcomes<readonly Mail.DeliverOutcome[]>(),
    create: new Outcomes<Mail.MailboxInfo>(),
    done: new Outcomes<true>(),
    append: new Outcomes<Mail.AppendOutcome>(),
    store: new Outcomes<Mail.StoreOutcome>(),
    expunge: new Outcomes<Mail.ExpungeOutcome>(),
    copy: new Outcomes<Mail.CopyOutcome>(),
  };
  #emailCount = 0;

  constructor(nowMs: () => number = Date.now) {
    super();
    this.#nowMs = nowMs;
  }

  async deliver(
    request: Mail.DeliverRequest,
    signal: AbortSignal,
  ): Promise<readonly Mail.DeliverOutcome[]> {
    await turn(signal);
    return this.#kept.deliver.once(request, () => {
      const message = this.#newMessage({ ...request, flags: [] });
      const done = new Map<AccountId, Mail.DeliverOutcome>();
      const begunMs = ulidMs(request.deliveryId);
      return request.recipients.map((recipient) => {
        const account = this.accounts.get(recipient.account);
        const outcome =
          done.get(recipient.account) ??
          this.#unconfirmed.repeated(account, recipient, request.opId, begunMs) ??
          deliverTo(account, request, recipient, message);
        this.#unconfirmed.delivered(recipient, request.opId, outcome, this.#nowMs());
        done.set(recipient.account, outcome);
        return outcome;
      });
    });
  }

  /** Delivers at once, as far as recipients are there: nothing of the fake is ever away. */
  async spool(request: SpoolRequest, signal: AbortSignal): Promise<void> {
    await turn(signal);
    const { source, deliveryId } = request;
    const index = this.#blobs.indexOf(source);
    for (const { shard, opId, recipients } of request.parts) {
      const change = { opId, retry: true, accepted: true, shard };
      const delivery = { ...change, deliveryId, recipients, source, index };
      await this.deliver(delivery, signal);
    }
  }

  confirm(_shard: ShardId, deliveries: readonly OpId[]): void {
    this.#unconfirmed.confirm(deliveries);
  }

  async writeBlob(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<Mail.BlobRef> {
    return this.#blobs.write(shard, id, chunks, signal);
  }

  async listMailboxes(who: Mail.Principal, signal: AbortSignal): Promise<Mail.MailboxListing> {
    await turn(signal);
    return tree.listingOf(this.accountOf(who));
  }

  async mailboxStatus(
    who: Mail.Principal,
    name: string,
    signal: AbortSignal,
  ): Promise<Mail.MailboxInfo> {
    await turn(signal);
    const account = this.accountOf(who);
    return tree.infoOf(account, tree.mailboxNamed(account, name));
  }

  async createMailbox(
    who: Mail.Principal,
    request: Mail.Change & { readonly name: string; readonly specialUse?: string },
    signal: AbortSignal,
  ): Promise<Mail.MailboxInfo> {
    await turn(signal);
    const account = this.accountOf(who);
    return this.#kept.create.once(request, () =>
      tree.infoOf(account, tree.create(account, request.name, request.specialUse)),
    );
  }

  async deleteMailbox(
    who: Mail.Principal,
    request: Mail.Change & { readonly name: string },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#doOnce(who, request, signal, (account) => tree.remove(account, request.name));
  }

  async renameMailbox(
    who: Mail.Principal,
    request: Mail.Change & { readonly from: string; readonly to: string },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#doOnce(who, request, signal, (account) =>
      tree.rename(account, request.from, request.to),
    );
  }

  async setSubscribed(
    who: Mail.Principal,
    request: Mail.Change & { readonly name: string; readonly subscribed: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    await this.#doOnce(who, request, signal, (account) =>
      tree.subscribe(account, request.name, request.subscribed),
    );
  }

  async openMailbox(
    who: Mail.Principal,
    request: { readonly name: string; readonly claimRecent: boolean },
    signal: AbortSignal,
  ): Promise<Mail.OpenMailbox> {
    await turn(signal);
    const account = this.accountOf(who);
    const mailbox = tree.mailboxNamed(account, request.name);
    const open: Mail.OpenMailbox = {
      info: tree.infoOf(account, mailbox),
      uids: Uint32Array.from(mailbox.messages, ({ uid }) => uid),
      recentFrom: request.claimRecent ? mailbox.recentFrom : 0,
      firstUnseen: mailbox.messages.find(({ flags }) => !flags.includes("\\Seen"))?.uid ?? 0,
      keywords: [...mailbox.keywords],
    };
    if (request.claimRecent) mailbox.recentFrom = mailbox.uidNext;
    return open;
  }

  async changes(
    who: Mail.Principal,
    request: Parameters<Mail.MailStore["changes"]>[1],
    signal: AbortSignal,
  ): Promise<Mail.MailboxChanges> {
    await turn(signal);
    const mailbox = tree.mailboxById(this.accountOf(who), request.mailbox);
    accounts.checkKnown(mailbox, request);
    const since = request.sinceModSeq;
    const touched = mailbox.messages.filter((message) => message.modSeq > since);
    const gone = mailbox.vanished.filter((each) => each.modSeq > since).map(({ uid }) => uid);
    return {
      highestModSeq: mailbox.highestModSeq,
      uidNext: mailbox.uidNext,
      added: touched.filter(({ uid }) => uid >= request.knownUidNext).map(accounts.stateOf),
      changed: touched.filter(({ uid }) => uid < request.knownUidNext).map(accounts.stateOf),
      vanished: uidSetFromSorted(gone.sort((a, b) => a - b)),
      messages: mailbox.messages.length,
    };
  }

  watch(
    who: Mail.Principal,
    request: Parameters<Mail.MailStore["watch"]>[1],
    signal: AbortSignal,
  ): AsyncIterable<Mail.MailboxEvent> {
    const account = this.accountOf(who);
    const mailboxes = request.mailboxes === "all" ? "all" : new Set(request.mailboxes);
    const queue = new EventQueue<Mail.MailboxEvent>(signal, () => account.watchers.delete(watcher));
    const watcher: accounts.Watcher = { mailboxes, queue };
    if (!signal.aborted) account.watchers.add(watcher);
    request.listening?.();
    return queue;
  }

  async *fetch(
    who: Mail.Principal,
    request: Mail.FetchRequest,
    signal: AbortSignal,
  ): AsyncGenerator<Mail.FetchChunk> {
    await turn(signal);
    const mailbox = tree.mailboxById(this.accountOf(who), request.mailbox);
    for (const chunk of fetchChunks(mailbox, request)) {
      yield chunk;
      signal.throwIfAborted();
    }
  }

  async flags(...[who, request, signal]: Parameters<Mail.MailStore["flags"]>) {
    await turn(signal);
    return flagsOf(tree.mailboxById(this.accountOf(who), request.mailbox), request);
  }

  async *readMessage(
    who: Mail.Principal,
    request: { readonly mailbox: MailboxId; readonly uid: Uid; readonly offset: number },
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    await turn(signal);
    const mailbox = tree.mailboxById(this.accountOf(who), request.mailbox);
    const message = [...mailbox.messages, ...(request.offset > 0 ? mailbox.gone : [])].find(
      ({ uid }) => uid === request.uid,
    );
    if (message === undefined) throw new MailError({ code: "INVALID", why: "no such message" });
    for (let at = request.offset; at < message.body.length; at += pieceBytesMax) {
      yield message.body.subarray(at, at + pieceBytesMax);
      signal.throwIfAborted();
    }
  }

  async search(
    who: Mail.Principal,
    request: Mail.SearchRequest,
    signal: AbortSignal,
  ): Promise<Mail.SearchOutcome> {
    await turn(signal);
    const mailbox = tree.mailboxById(this.accountOf(who), request.mailbox);
    return searchOutcome(mailbox.messages, request);
  }

  async append(
    who: Mail.Principal,
    request: Mail.AppendRequest,
    signal: AbortSignal,
  ): Promise<Mail.AppendOutcome> {
    await turn(signal);
    const account = this.accountOf(who);
    return this.#kept.append.once(request, () => {
      const news = request.messages.map((each) => this.#newMessage(each));
      return appendMessages(account, request, news);
    });
  }

  async store(
    who: Mail.Principal,
    request: Mail.StoreRequest,
    signal: AbortSignal,
  ): Promise<Mail.StoreOutcome> {
    await turn(signal);
    const account = this.accountOf(who);
    return this.#kept.store.once(request, () => {
      const mailbox = tree.mailboxById(account, request.mailbox);
      const named = mailbox.messages.filter(({ uid }) => uidSetHas(request.uids, uid));
      const most = request.unchangedSince ?? Infinity;
      const passed = named.filter((message) => message.modSeq <= most);
      const modified = named.filter((message) => message.modSeq > most).map(({ uid }) => uid);
      const changed = applyFlags(mailbox, passed, request);
      if (changed) accounts.tellChange(account, mailbox);
      return {
        highestModSeq: mailbox.highestModSeq,
        changed,
        stored: passed.map(accounts.stateOf),
        modified: uidSetFromSorted(modified),
      };
    });
  }

  async expunge(
    who: Mail.Principal,
    request: Parameters<Mail.MailStore["expunge"]>[1],
    signal: AbortSignal,
  ): Promise<Mail.ExpungeOutcome> {
    await turn(signal);
    const account = this.accountOf(who);
    return this.#kept.expunge.once(request, () => {
      const held = account.maildrop?.name;
      if (request.maildrop !== undefined && held !== undefined && held !== request.maildrop) {
        throw new MailError({ code: "IN_USE" });
      }
      const mailbox = tree.mailboxById(account, request.mailbox);
      const gone = mailbox.messages
        .filter(({ uid }) => request.uids === undefined || uidSetHas(request.uids, uid))
        .filter(({ flags }) => request.force === true || flags.includes("\\Deleted"));
      accounts.removeMessages(mailbox, new Set(gone));
      if (gone.length > 0) accounts.tellChange(account, mailbox);
      return {
        highestModSeq: mailbox.highestModSeq,
        expunged: uidSetFromSorted(gone.map(({ uid }) => uid)),
      };
    });
  }

  async copy(
    who: Mail.Principal,
    request: Mail.CopyRequest,
    signal: AbortSignal,
  ): Promise<Mail.CopyOutcome> {
    await turn(signal);
    const account = this.accountOf(who);
    return this.#kept.copy.once(request, () => copyMessages(account, request, this.#nowMs()));
  }

  async move(
    who: Mail.Principal,
    request: Mail.CopyRequest,
    signal: AbortSignal,
  ): Promise<Mail.CopyOutcome> {
    await turn(signal);
    const account = this.accountOf(who);
    return this.#kept.copy.once(request, () => moveMessages(account, request, this.#nowMs()));
  }

  async annotations(
    who: Mail.Principal,
    request: { readonly mailbox: string | undefined },
    signal: AbortSignal,
  ): Promise<readonly Mail.MailboxAnnotations[]> {
    await turn(signal);
    return annotationsOf(this.accountOf(who), request.mailbox);
  }

  async annotate(
    who: Mail.Principal,
    request: Mail.AnnotateRequest,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#doOnce(who, request, signal, (account) => annotate(account, request));
  }

  async quota(who: Mail.Principal, signal: AbortSignal): Promise<Quota> {
    await turn(signal);
    return accounts.quotaOf(this.accountOf(who));
  }

  async lockMaildrop(
    who: Mail.Principal,
    signal: AbortSignal,
    onState?: (state: Mail.MaildropState) => void,
    name?: OpId,
  ): Promise<void> {
    await turn(signal);
    holdMaildrop(this.accountOf(who), signal, onState, name);
  }

  async #doOnce(
    who: Mail.Principal,
    request: Mail.Change,
    signal: AbortSignal,
    run: (account: FakeAccount) => void,
  ): Promise<void> {
    await turn(signal);
    const account = this.accountOf(who);
    this.#kept.done.once(request, () => {
      run(account);
      return true;
    });
  }

  #newMessage(message: Mail.AppendMessage): NewMessage {
    const body = this.#blobs.bytesOf(message.source);
    const savedMs = this.#nowMs();
    return {
      body,
      index: message.index,
      flags: message.flags,
      internalDateMs: message.internalDateMs ?? savedMs,
      internalDateZone: message.internalDateZone ?? 0,
      savedMs,
      emailId: `M${++this.#emailCount}`,
    };
  }
}

/** Every call takes a turn of the microtask queue, so that callers can't rely on less. */
async function turn(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await Promise.resolve();
}
