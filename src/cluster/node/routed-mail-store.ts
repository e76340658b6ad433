// MailStore for gateways: every call goes to the primary of its shard, wherever that is now, with the
// same operation id until it is answered or the deadline is over. Holds no mail.

import type { Clock } from "../../lib/clock.ts";
import { isMailError } from "../../mail/errors.ts";
import type { Epoch, OpId, ShardId } from "../../mail/ids.ts";
import type {
  AnnotateRequest,
  AppendOutcome,
  AppendRequest,
  BlobRef,
  Change,
  CopyOutcome,
  CopyRequest,
  DeliverOutcome,
  DeliverRequest,
  ExpungeOutcome,
  FetchChunk,
  FetchRequest,
  FlagColumns,
  FlagsRequest,
  MailboxAnnotations,
  MailboxChanges,
  MailboxEvent,
  MailboxInfo,
  MailboxListing,
  MaildropState,
  MailStore,
  OpenMailbox,
  Principal,
  SearchOutcome,
  SearchRequest,
  StoreOutcome,
  StoreRequest,
} from "../../mail/mail-store.ts";
import type {
  MemberGroups,
  MemberStates,
  StateOutcome,
  StateRequest,
} from "../../mail/member-states.ts";
import type { Quota } from "../../mail/quota.ts";
import type { SpoolRequest } from "../../mail/spool.ts";
import type { Links, Peer } from "../link/rpc.ts";
import { headOf, shardPrincipal } from "./mail-service.ts";
import type { Method } from "./method.ts";
import { annotateMethod, annotationsMethod } from "./methods-annotations.ts";
import { appendMethod, deliverMethod } from "./methods-delivery.ts";
import { changeReadStateMethod, readGroupsMethod } from "./methods-group.ts";
import * as mailbox from "./methods-mailbox.ts";
import { flagsMethod } from "./method-flags.ts";
import { searchMethod } from "./method-search.ts";
import * as message from "./methods-message.ts";
import { RepeatableChunks } from "./repeatable-chunks.ts";
import { once, send, upload } from "./routed-send.ts";
import { routedFetch, routedRead } from "./routed-fetch.ts";
import { routedLock } from "./routed-lock.ts";
import { routedWatch, StreamEnds, WatchGate } from "./routed-watch.ts";
import type { WatchOptions } from "./routed-watch.ts";
import { ShardCaller } from "./shard-caller.ts";
import type { Attempt } from "./shard-caller.ts";
import type { KnownShards } from "./shard-table.ts";
import { SpoolRouter } from "./spool-router.ts";

export interface RoutedStoreOptions {
  readonly table: KnownShards;
  readonly links: Links;
  readonly clock: Clock;
  /** How long a call is tried again while its primary is away, 30 s by default. */
  readonly retryMs?: number;
}

/** Bodies of one APPEND in one frame; more go as blobs. */
const inlineTotalMax = 768 * 1024;

export class RoutedMailStore implements MailStore, MemberStates {
  readonly #caller: ShardCaller;
  readonly #spool: SpoolRouter;
  readonly #watching: WatchOptions;

  constructor(options: RoutedStoreOptions) {
    this.#caller = new ShardCaller(options);
    this.#spool = new SpoolRouter(options);
    const { table, links, clock } = options;
    this.#watching = {
      caller: this.#caller,
      table,
      links,
      gate: new WatchGate(clock),
      ends: new StreamEnds(table),
      list: (who, signal) => this.listMailboxes(who, signal),
    };
  }

  deliver(request: DeliverRequest, signal: AbortSignal): Promise<readonly DeliverOutcome[]> {
    const { shard, patienceMs } = request;
    // What clients have had the answer of travels ahead: the same mail again is then new.
    const taken = this.#spool.takeConfirmed(shard);
    const { confirmed = [], ...rest } = request;
    const whole = taken === undefined ? request : { confirmed: [...confirmed, ...taken], ...rest };
    return this.#change(deliverMethod, shardPrincipal(shard), whole, signal, patienceMs);
  }

  /** Tried again while the first chunks are at hand; the others can't be had again. */
  async writeBlob(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    elsewhereAfterMs?: number,
  ): Promise<BlobRef> {
    const pieces = new RepeatableChunks(chunks);
    const budget = this.#caller.budget(shard, elsewhereAfterMs);
    try {
      for (;;) {
        const { peer, epoch, at } = await this.#blobHome(shard, elsewhereAfterMs, signal);
        try {
          return await upload(peer, epoch, at, id, pieces.fromStart(), signal);
        } catch (error) {
          if (!pieces.repeatable) throw error;
          await budget.again(error, signal);
        }
      }
    } finally {
      pieces.close();
    }
  }

  spool(request: SpoolRequest, signal: AbortSignal): Promise<void> {
    return this.#spool.spool(request, signal);
  }

  confirm(shard: ShardId, deliveries: readonly OpId[]): void {
    this.#spool.confirm(shard, deliveries);
  }

  /** Sends the confirmations that still wait. */
  close(): void {
    this.#spool.close();
  }

  listMailboxes(who: Principal, signal: AbortSignal): Promise<MailboxListing> {
    return this.#ask(mailbox.listMethod, who, undefined, signal);
  }

  mailboxStatus(who: Principal, name: string, signal: AbortSignal): Promise<MailboxInfo> {
    return this.#ask(mailbox.statusMethod, who, { name }, signal);
  }

  createMailbox(
    who: Principal,
    request: Change & { readonly name: string; readonly specialUse?: string },
    signal: AbortSignal,
  ): Promise<MailboxInfo> {
    return this.#change(mailbox.createMethod, who, request, signal);
  }

  deleteMailbox(
    who: Principal,
    request: Change & { readonly name: string },
    signal: AbortSignal,
  ): Promise<void> {
    return this.#change(mailbox.deleteMethod, who, request, signal);
  }

  renameMailbox(
    who: Principal,
    request: Change & { readonly from: string; readonly to: string },
    signal: AbortSignal,
  ): Promise<void> {
    return this.#change(mailbox.renameMethod, who, request, signal);
  }

  setSubscribed(
    who: Principal,
    request: Change & { readonly name: string; readonly subscribed: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    return this.#change(mailbox.subscribeMethod, who, request, signal);
  }

  openMailbox(
    who: Principal,
    request: { readonly name: string; readonly claimRecent: boolean },
    signal: AbortSignal,
  ): Promise<OpenMailbox> {
    return this.#ask(mailbox.openMethod, who, request, signal);
  }

  changes(
    who: Principal,
    request: Parameters<MailStore["changes"]>[1],
    signal: AbortSignal,
  ): Promise<MailboxChanges> {
    return this.#ask(mailbox.changesMethod, who, request, signal);
  }

  watch(
    who: Principal,
    request: Parameters<MailStore["watch"]>[1],
    signal: AbortSignal,
  ): AsyncIterable<MailboxEvent> {
    return routedWatch(this.#watching, who, request, signal);
  }

  fetch(who: Principal, request: FetchRequest, signal: AbortSignal): AsyncIterable<FetchChunk> {
    return routedFetch(this.#caller, who, request, signal);
  }

  flags(who: Principal, request: FlagsRequest, signal: AbortSignal): Promise<FlagColumns> {
    return this.#ask(flagsMethod, who, request, signal);
  }

  readMessage(
    who: Principal,
    request: Parameters<MailStore["readMessage"]>[1],
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    return routedRead(this.#caller, who, request, signal);
  }

  search(who: Principal, request: SearchRequest, signal: AbortSignal): Promise<SearchOutcome> {
    return this.#ask(searchMethod, who, request, signal);
  }

  async append(
    who: Principal,
    request: AppendRequest,
    signal: AbortSignal,
  ): Promise<AppendOutcome> {
    const sized = await this.#fitFrame(who.shard, request, signal);
    return this.#change(appendMethod, who, sized, signal);
  }

  store(who: Principal, request: StoreRequest, signal: AbortSignal): Promise<StoreOutcome> {
    return this.#change(message.storeMethod, who, request, signal);
  }

  expunge(
    who: Principal,
    request: Parameters<MailStore["expunge"]>[1],
    signal: AbortSignal,
  ): Promise<ExpungeOutcome> {
    return this.#change(message.expungeMethod, who, request, signal);
  }

  copy(who: Principal, request: CopyRequest, signal: AbortSignal): Promise<CopyOutcome> {
    return this.#change(message.copyMethod, who, request, signal);
  }

  move(who: Principal, request: CopyRequest, signal: AbortSignal): Promise<CopyOutcome> {
    return this.#change(message.moveMethod, who, request, signal);
  }

  annotations(
    who: Principal,
    request: { readonly mailbox: string | undefined },
    signal: AbortSignal,
  ): Promise<readonly MailboxAnnotations[]> {
    return this.#ask(annotationsMethod, who, request, signal);
  }

  annotate(who: Principal, request: AnnotateRequest, signal: AbortSignal): Promise<void> {
    return this.#change(annotateMethod, who, request, signal);
  }

  readGroups(
    who: Principal,
    request: { readonly under: string },
    signal: AbortSignal,
  ): Promise<MemberGroups> {
    return this.#ask(readGroupsMethod, who, request, signal);
  }

  changeReadState(
    who: Principal,
    request: StateRequest,
    signal: AbortSignal,
  ): Promise<StateOutcome> {
    return this.#change(changeReadStateMethod, who, request, signal);
  }

  quota(who: Principal, signal: AbortSignal): Promise<Quota> {
    return this.#ask(mailbox.quotaMethod, who, undefined, signal);
  }

  lockMaildrop(
    who: Principal,
    signal: AbortSignal,
    onState?: (state: MaildropState) => void,
    holder?: OpId,
  ): Promise<void> {
    return routedLock({ caller: this.#caller, who, holder, signal }, onState);
  }

  async #ask<Request, Result>(
    method: Method<Request, Result>,
    who: Principal,
    request: Request,
    signal: AbortSignal,
  ): Promise<Result> {
    const { args, body } = method.encode(request);
    return this.#caller.run(who.shard, signal, async (peer, epoch, _retry, deadlineMs) => {
      const head = headOf(epoch, who, args);
      const sent = { head, headAgain: () => head, body };
      return method.decodeReply(await send(peer, method, sent, signal, deadlineMs));
    });
  }

  /** A change says from its second try on that it may have been seen. */
  async #change<Request extends Change, Result>(
    method: Method<Request, Result>,
    who: Principal,
    request: Request,
    signal: AbortSignal,
    retryMs?: number,
  ): Promise<Result> {
    const { args, body } = method.encode(request);
    const attempt: Attempt<Result> = async (peer, epoch, retry, deadlineMs) => {
      const headAgain = () => headOf(epoch, who, [args[0], true, ...args.slice(2)]);
      const head = retry ? headAgain() : headOf(epoch, who, args);
      const sent = { head, headAgain, body };
      return method.decodeReply(await send(peer, method, sent, signal, deadlineMs));
    };
    return this.#caller.run(who.shard, signal, attempt, retryMs);
  }

  /** The primary that takes a blob: the shard's, or after a while that of a shard that can spool it. */
  async #blobHome(
    shard: ShardId,
    elsewhereAfterMs: number | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly peer: Peer; readonly epoch: Epoch; readonly at: ShardId }> {
    try {
      const found = await this.#caller.budget(shard, elsewhereAfterMs).primary(signal);
      return { ...found, at: shard };
    } catch (error) {
      const other = elsewhereAfterMs === undefined ? undefined : this.#spool.choose(shard);
      if (other === undefined || !isMailError(error)) throw error;
      return other;
    }
  }

  /** Turns messages into blobs until the rest fits one frame. */
  async #fitFrame(
    shard: ShardId,
    request: AppendRequest,
    signal: AbortSignal,
  ): Promise<AppendRequest> {
    let total = 0;
    const messages = [];
    for (const [index, one] of request.messages.entries()) {
      const size = one.source.kind === "bytes" ? one.source.bytes.byteLength : 0;
      if (one.source.kind === "blob" || total + size <= inlineTotalMax) {
        total += size;
        messages.push(one);
        continue;
      }
      const id = `${request.opId}-${index}`;
      const { bytes } = one.source;
      const blob = await this.#caller.run(shard, signal, (peer, epoch) =>
        upload(peer, epoch, shard, id, once(bytes), signal),
      );
      messages.push({ ...one, source: { kind: "blob", blob } as const });
    }
    return { ...request, messages };
  }
}
