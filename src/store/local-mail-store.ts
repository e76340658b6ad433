// MailStore on this node: the account engine behind the interface that protocol code knows. Routing,
// retries and links are the cluster's; each call is one file here.

import type { OpId, ShardId } from "../mail/ids.ts";
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
} from "../mail/mail-store.ts";
import type {
  MemberGroups,
  MemberStates,
  StateOutcome,
  StateRequest,
} from "../mail/member-states.ts";
import type { Quota } from "../mail/quota.ts";
import type { SpoolRequest } from "../mail/spool.ts";
import { quotaOf } from "./account-state.ts";
import { annotate, annotations } from "./annotations.ts";
import { append } from "./append.ts";
import { changes } from "./changes.ts";
import { copyMessages } from "./copy.ts";
import { deliver } from "./deliver.ts";
import type { Engine } from "./engine.ts";
import { expunge } from "./expunge.ts";
import type { ExpungeRequest } from "./expunge.ts";
import { fetchMessages } from "./fetch.ts";
import { flagColumns } from "./flag-columns.ts";
import { infoOf, listingOf, mailboxNamed } from "./list.ts";
import { createMailbox, deleteMailbox, renameMailbox, setSubscribed } from "./manage-mailboxes.ts";
import { lockMaildrop } from "./maildrop.ts";
import { openMailbox } from "./open-mailbox.ts";
import { readMessage } from "./read-message.ts";
import { searchMessages } from "./search.ts";
import { spool } from "./spool.ts";
import { storeFlags } from "./store-flags.ts";
import { changeReadState, readGroups } from "./group-state.ts";
import { watchAccount } from "./watch.ts";

type ChangesRequest = Parameters<MailStore["changes"]>[1];
type ReadRequest = Parameters<MailStore["readMessage"]>[1];
type WatchRequest = Parameters<MailStore["watch"]>[1];

export class LocalMailStore implements MailStore, MemberStates {
  readonly engine: Engine;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  deliver(request: DeliverRequest, signal: AbortSignal): Promise<readonly DeliverOutcome[]> {
    return deliver(this.engine, request, signal);
  }

  async writeBlob(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<BlobRef> {
    this.engine.mustServe(shard);
    this.engine.mustTakeMail(shard);
    return this.engine.bodies.writeBlob(shard, id, chunks, signal);
  }

  async spool(request: SpoolRequest, signal: AbortSignal): Promise<void> {
    const { source, parts } = request;
    const near = source.kind === "blob" ? source.blob.shard : parts[0]?.shard;
    const shard = request.shard ?? near;
    if (shard === undefined) return;
    await spool(this.engine, { ...request, shard }, signal);
  }

  confirm(shard: ShardId, deliveries: readonly OpId[]): void {
    if (this.engine.journal.serves(shard)) this.engine.unconfirmed.confirm(shard, deliveries);
  }

  listMailboxes(who: Principal): Promise<MailboxListing> {
    return this.engine.withAccount(who, (account) => Promise.resolve(listingOf(account)));
  }

  mailboxStatus(who: Principal, name: string): Promise<MailboxInfo> {
    return this.engine.withAccount(who, async (account) =>
      infoOf(account, mailboxNamed(account, name)),
    );
  }

  createMailbox(
    who: Principal,
    request: Change & { readonly name: string; readonly specialUse?: string },
    signal: AbortSignal,
  ): Promise<MailboxInfo> {
    return createMailbox(this.engine, who, request, signal);
  }

  deleteMailbox(
    who: Principal,
    request: Change & { readonly name: string },
    signal: AbortSignal,
  ): Promise<void> {
    return deleteMailbox(this.engine, who, request, signal);
  }

  renameMailbox(
    who: Principal,
    request: Change & { readonly from: string; readonly to: string },
    signal: AbortSignal,
  ): Promise<void> {
    return renameMailbox(this.engine, who, request, signal);
  }

  setSubscribed(
    who: Principal,
    request: Change & { readonly name: string; readonly subscribed: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    return setSubscribed(this.engine, who, request, signal);
  }

  openMailbox(
    who: Principal,
    request: { readonly name: string; readonly claimRecent: boolean },
  ): Promise<OpenMailbox> {
    return openMailbox(this.engine, who, request);
  }

  changes(who: Principal, request: ChangesRequest): Promise<MailboxChanges> {
    return changes(this.engine, who, request);
  }

  watch(who: Principal, request: WatchRequest, signal: AbortSignal): AsyncIterable<MailboxEvent> {
    return watchAccount(this.engine, who, request, signal);
  }

  fetch(who: Principal, request: FetchRequest, signal: AbortSignal): AsyncIterable<FetchChunk> {
    return fetchMessages(this.engine, who, request, signal);
  }

  flags(who: Principal, request: FlagsRequest): Promise<FlagColumns> {
    return flagColumns(this.engine, who, request);
  }

  readMessage(
    who: Principal,
    request: ReadRequest,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array> {
    return readMessage(this.engine, who, request, signal);
  }

  search(who: Principal, request: SearchRequest, signal: AbortSignal): Promise<SearchOutcome> {
    return searchMessages(this.engine, who, request, signal);
  }

  append(who: Principal, request: AppendRequest, signal: AbortSignal): Promise<AppendOutcome> {
    return append(this.engine, who, request, signal);
  }

  store(who: Principal, request: StoreRequest, signal: AbortSignal): Promise<StoreOutcome> {
    return storeFlags(this.engine, who, request, signal);
  }

  expunge(who: Principal, request: ExpungeRequest, signal: AbortSignal): Promise<ExpungeOutcome> {
    return expunge(this.engine, who, request, signal);
  }

  copy(who: Principal, request: CopyRequest, signal: AbortSignal): Promise<CopyOutcome> {
    return copyMessages(this.engine, who, request, false, signal);
  }

  move(who: Principal, request: CopyRequest, signal: AbortSignal): Promise<CopyOutcome> {
    return copyMessages(this.engine, who, request, true, signal);
  }

  annotations(
    who: Principal,
    request: { readonly mailbox: string | undefined },
  ): Promise<readonly MailboxAnnotations[]> {
    return annotations(this.engine, who, request);
  }

  annotate(who: Principal, request: AnnotateRequest, signal: AbortSignal): Promise<void> {
    return annotate(this.engine, who, request, signal);
  }

  readGroups(who: Principal, request: { readonly under: string }): Promise<MemberGroups> {
    return readGroups(this.engine, who, request);
  }

  changeReadState(
    who: Principal,
    request: StateRequest,
    signal: AbortSignal,
  ): Promise<StateOutcome> {
    return changeReadState(this.engine, who, request, signal);
  }

  quota(who: Principal): Promise<Quota> {
    return this.engine.withAccount(who, (account) => Promise.resolve(quotaOf(account)));
  }

  lockMaildrop(
    who: Principal,
    signal: AbortSignal,
    onState?: (state: MaildropState) => void,
    holder?: OpId,
  ): Promise<void> {
    return lockMaildrop(this.engine, who, signal, onState, holder);
  }
}
