// COPY and MOVE out of a view: the member gets copies of their own, by one APPEND of all, and the
// messages that are moved are hidden in the same change (paper H23).

import { MessageIndexer } from "../../mail/mime/indexer.ts";
import { uid as asUid } from "../../mail/ids.ts";
import type {
  AppendMessage,
  AppendOutcome,
  CopyRequest,
  MailStore,
  MessageSource,
  Principal,
} from "../../mail/mail-store.ts";
import type { MessageIndex } from "../../mail/message-index.ts";
import type { MemberChange } from "../../mail/state-change.ts";
import { principalOf } from "./group-index.ts";
import { flagStateAt } from "./member-view.ts";
import type { MemberView } from "./member-view.ts";
import { MailError } from "../../mail/errors.ts";

/** Messages up to here are held in memory until the answer; larger ones go to the member's disks at once. */
const inlineBytesMax = 256 * 1024;
/** All that one command holds in memory; what is behind that goes to the disks, however small. */
const inlineTotalMax = 1024 * 1024;
const messagesMax = 1000;

/**
 * Appends copies of the messages at `places` to the target.
 * @param memberChange happens with it, or not at all
 * @throws what `append` throws, LIMIT
 */
export async function copyOut(
  store: MailStore,
  who: Principal,
  view: MemberView,
  places: readonly number[],
  request: CopyRequest,
  memberChange: MemberChange | undefined,
  signal: AbortSignal,
): Promise<AppendOutcome> {
  if (places.length > messagesMax) {
    throw new MailError({ code: "LIMIT", limit: "messages copied at once", most: messagesMax });
  }
  const messages: AppendMessage[] = [];
  let inlineBytes = 0;
  for (const at of places) {
    const size = view.index.sizes[at] ?? 0;
    const inline = size <= Math.min(inlineBytesMax, inlineTotalMax - inlineBytes);
    if (inline) inlineBytes += size;
    const blobId = inline ? undefined : `${request.opId}-${at}`;
    messages.push(await messageAt(store, who, view, at, blobId, signal));
  }
  const { opId, retry, target } = request;
  const append = { opId, retry, mailbox: target, messages };
  return store.append(
    who,
    memberChange === undefined ? append : { ...append, memberChange },
    signal,
  );
}

async function messageAt(
  store: MailStore,
  who: Principal,
  view: MemberView,
  at: number,
  /** Undefined: it is held in memory. */
  blobId: string | undefined,
  signal: AbortSignal,
): Promise<AppendMessage> {
  const { index, group } = view;
  const indexer = new MessageIndexer();
  const read = store.readMessage(
    principalOf(group),
    { mailbox: index.mailbox, uid: asUid(index.uids[at] ?? 0), offset: 0 },
    signal,
  );
  const chunks = indexed(read, indexer);
  const source: MessageSource =
    blobId === undefined
      ? { kind: "bytes", bytes: await gathered(chunks) }
      : { kind: "blob", blob: await store.writeBlob(who.shard, blobId, chunks, signal) };
  const flags = flagStateAt(view, at).flags.filter((flag) => flag !== "\\Deleted");
  const parsed: MessageIndex = indexer.finish();
  return { source, index: parsed, flags, internalDateMs: index.datesMs[at] ?? 0 };
}

async function* indexed(
  chunks: AsyncIterable<Uint8Array>,
  indexer: MessageIndexer,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    indexer.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    yield chunk;
  }
}

async function gathered(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const chunk of chunks) pieces.push(chunk);
  return Buffer.concat(pieces);
}
