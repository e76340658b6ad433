// FETCH at the node: chunks of many rendered messages, without a promise or string per message.
// Columns answer flags and sizes, static rows listings, segments bodies; what comes next is read
// while the last chunk is written.

import { formatDateTime } from "../mail/dates.ts";
import { MailError } from "../mail/errors.ts";
import { renderBody } from "../mail/mime/body-structure.ts";
import type { FetchChunk, FetchItems, FetchRequest, Principal } from "../mail/mail-store.ts";
import { background } from "./background.ts";
import { readBodies } from "./bodies.ts";
import type { Body, BodyName } from "./bodies.ts";
import type { AccountState } from "./account-state.ts";
import { ChunkWriter } from "./chunk-writer.ts";
import { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import { streamBlobSections } from "./fetch-blob.ts";
import { FlagTexts } from "./flag-texts.ts";
import { MailboxSummary } from "./mailbox-state.ts";
import { emailIdOf, threadIdOf } from "./object-ids.ts";
import { messagePreview } from "./preview.ts";
import { isWholeMessage, planSection, writeSection } from "./sections.ts";
import { ListingCursor, readParts, staticAt } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";
import { StaticReader } from "./statics.ts";
import type { Statics } from "./statics.ts";

const batchMessages = 256;
const batchBytes = 1024 * 1024;
/** Of fewer messages the answer begins in a small buffer. */
const fewMessages = 8;
const fewBytes = 8 * 1024;

/** @see MailStore.fetch */
export async function* fetchMessages(
  engine: Engine,
  who: Principal,
  request: FetchRequest,
  signal: AbortSignal,
): AsyncGenerator<FetchChunk> {
  const account = await engine.pinned(who);
  try {
    const mailbox = account.mailbox(request.mailbox);
    const pinned = await engine.accounts.pinSummary(account, mailbox);
    try {
      const gone =
        request.evenGone === true ? goneMessage(engine, account, pinned, request) : undefined;
      const summary = gone ?? pinned;
      const uids = wantedUids(summary, request);
      const out = new ChunkWriter(uids.length < fewMessages ? fewBytes : undefined);
      const statics = new StaticReader(engine.rows, account.id, mailbox.id, summary);
      const texts = new FlagTexts(summary);
      const job: Job = { engine, summary, request, out, statics, texts, lies: new ListingCursor() };
      for await (const chunk of run(job, uids, signal)) {
        engine.check(account, who);
        yield chunk;
      }
    } finally {
      pinned.pins--;
    }
  } finally {
    account.pins--;
  }
}

/** A mailbox of one message, which was expunged lately: enough for its sections. */
function goneMessage(
  engine: Engine,
  account: AccountState,
  { columns, keywords }: MailboxSummary,
  { mailbox, uids: [uid = 0] }: FetchRequest,
): MailboxSummary | undefined {
  if (columns.indexOf(uid) >= 0) return undefined;
  const name = engine.removals.find(account.id, mailbox, uid);
  if (name === undefined) return undefined;
  const gone = new Columns(1);
  gone.put({
    uid,
    modSeq: 1,
    flags: 0,
    size: 0,
    date: 0,
    zone: 0,
    saved: 0,
    bodyTag: name.tag,
    bodyLsn: name.lsn,
  });
  return new MailboxSummary(gone, keywords, 0, [], 0);
}

interface Job {
  readonly engine: Engine;
  readonly summary: MailboxSummary;
  readonly request: FetchRequest;
  readonly out: ChunkWriter;
  readonly statics: StaticReader;
  readonly texts: FlagTexts;
  readonly lies: ListingCursor;
}

/** Messages that are read together; `uids` are views into the list of all. */
interface Batch {
  readonly uids: Uint32Array;
  readonly statics: Statics | undefined;
  readonly bodies: readonly Body[] | undefined;
}

async function* run(job: Job, uids: Uint32Array, signal: AbortSignal): AsyncGenerator<FetchChunk> {
  const { items } = job.request;
  const needs = needsOf(items);
  let at = 0;
  const start = (): Promise<Batch> | undefined => {
    if (at >= uids.length) return undefined;
    const size = needs.bodies ? batchSize(job.summary, uids, at) : job.statics.batchSize(uids, at);
    const batch = uids.subarray(at, at + size);
    at += size;
    return load(job, batch, needs);
  };
  if (!needs.statics && !needs.bodies) {
    yield* renderAll(job, { uids, statics: undefined, bodies: undefined }, signal);
  } else {
    let next = start();
    try {
      while (next !== undefined) {
        const batch = await next;
        signal.throwIfAborted();
        next = start();
        yield* renderAll(job, batch, signal);
      }
    } finally {
      // Read ahead for a consumer that stopped.
      if (next !== undefined) background(next);
    }
  }
  job.out.flush();
  yield* job.out.ready();
  // RFC 3516 §4.3: the FETCH fails, here behind all that it could give.
  if (job.out.unknownEncoding) throw new MailError({ code: "UNKNOWN_ENCODING" });
}

async function* renderAll(job: Job, batch: Batch, signal: AbortSignal): AsyncGenerator<FetchChunk> {
  const { columns } = job.summary;
  const { out } = job;
  const { sections = [] } = job.request.items;
  const needsStatics = sections.some((section) => !isWholeMessage(section));
  let index = 0;
  for (let i = 0; i < batch.uids.length; i++) {
    const uid = batch.uids[i] ?? 0;
    const body = batch.bodies?.[i];
    const preview = body === undefined ? undefined : previewOf(job, body, batch.statics, i);
    const shown = preview instanceof Promise ? await preview : preview;
    // The mailbox may have changed since the last chunk: look from where the message was before.
    if (columns.uid[index] !== uid || index >= columns.count) index = columns.indexOf(uid);
    if (index < 0) {
      index = 0;
      continue;
    }
    out.begin(uid);
    renderItems(job, index, batch.statics, i);
    if (shown !== undefined) {
      out.ascii(" PREVIEW ");
      out.bytes(shown);
    }
    if (body !== undefined && sections.length > 0) {
      out.beginSections();
      const fixed = needsStatics ? staticOf(batch.statics, i) : undefined;
      if (body.kind === "bytes") renderSections(job, body.bytes, fixed);
      else yield* streamBlobSections(job.engine, out, sections, body, fixed, signal);
    }
    out.end();
    index++;
    if (!out.hasReady) continue;
    for (const chunk of out.ready()) {
      yield chunk;
      signal.throwIfAborted();
    }
  }
}

function renderItems(job: Job, at: number, statics: Statics | undefined, i: number): void {
  const { out, request, summary } = job;
  const { columns } = summary;
  const { items } = request;
  if (items.flags === true) {
    const recentFrom = request.recentFrom ?? 0;
    const recent = recentFrom > 0 && (columns.uid[at] ?? 0) >= recentFrom;
    out.bytes(job.texts.of(columns.flags[at] ?? 0, recent));
  }
  if (items.modSeq === true) {
    out.ascii(" MODSEQ (");
    out.number(columns.modSeq[at] ?? 0);
    out.ascii(")");
  }
  if (items.internalDate === true) {
    out.ascii(' INTERNALDATE "');
    out.ascii(formatDateTime((columns.date[at] ?? 0) * 1000, columns.zone[at] ?? 0));
    out.ascii('"');
  }
  if (items.size === true) {
    out.ascii(" RFC822.SIZE ");
    out.number(columns.size[at] ?? 0);
  }
  const row = statics?.bytes[i];
  if (row !== undefined) renderListing(job, row, statics?.starts[i] ?? 0);
  if (items.saveDate === true) {
    out.ascii(` SAVEDATE "${formatDateTime((columns.saved[at] ?? 0) * 1000)}"`);
  }
  if (items.emailId === true) out.ascii(` EMAILID (${emailIdOf(columns, at)})`);
  if (items.threadId === true && row !== undefined) {
    const fixed = staticAt(row, statics?.starts[i] ?? 0);
    out.ascii(` THREADID (${threadIdOf(fixed, columns, at)})`);
  }
}

const nil = Buffer.from("NIL");

/** RFC 8970 §4.1: with LAZY, nothing is read that is not at hand. */
function previewOf(
  { engine, request: { items } }: Job,
  body: Body,
  statics: Statics | undefined,
  i: number,
): Buffer | Promise<Buffer> | undefined {
  if (items.preview !== true) return undefined;
  if (items.previewLazy === true && body.kind === "blob") return nil;
  const fixed = staticOf(statics, i);
  return fixed === undefined ? nil : messagePreview(engine, body, readParts(fixed.parts));
}

/** ENVELOPE and BODYSTRUCTURE, copied as they were rendered at delivery. */
function renderListing({ out, request: { items }, lies }: Job, row: Buffer, start: number): void {
  lies.moveTo(row, start);
  if (items.envelope === true) {
    out.ascii(" ENVELOPE ");
    out.range(row, lies.envelopeStart, lies.envelopeEnd);
  }
  if (items.bodyStructure === true) {
    out.ascii(" BODYSTRUCTURE ");
    out.range(row, lies.bodyStructureStart, lies.bodyStructureEnd);
  }
  if (items.body === true) {
    out.ascii(" BODY ");
    out.bytes(renderBody(row.subarray(lies.bodyStructureStart, lies.bodyStructureEnd)));
  }
}

function staticOf(statics: Statics | undefined, i: number): StaticRow | undefined {
  const row = statics?.bytes[i];
  return row === undefined ? undefined : staticAt(row, statics?.starts[i] ?? 0);
}

function renderSections(job: Job, bytes: Uint8Array, fixed: StaticRow | undefined): void {
  const root = fixed === undefined ? undefined : readParts(fixed.parts);
  for (const section of job.request.items.sections ?? []) {
    const plan = planSection(section, bytes.length, root);
    writeSection(job.out, section, plan, (start, end) =>
      start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end),
    );
  }
}

interface Needs {
  readonly statics: boolean;
  readonly bodies: boolean;
}

function needsOf(items: FetchItems): Needs {
  const sections = items.sections ?? [];
  const listing = items.envelope === true || items.bodyStructure === true || items.body === true;
  const preview = items.preview === true;
  const ofParts = preview || items.threadId === true;
  return {
    statics: listing || ofParts || sections.some((section) => !isWholeMessage(section)),
    bodies: preview || sections.length > 0,
  };
}

function wantedUids(summary: MailboxSummary, request: FetchRequest): Uint32Array {
  const { columns } = summary;
  const since = request.changedSince ?? 0;
  const { uids } = request;
  let most = 0;
  for (let i = 0; i < uids.length; i += 2) {
    most += columns.lowerBound((uids[i + 1] ?? 0) + 1) - columns.lowerBound(uids[i] ?? 0);
  }
  const wanted = new Uint32Array(most);
  let count = 0;
  for (let i = 0; i < uids.length; i += 2) {
    const end = columns.lowerBound((uids[i + 1] ?? 0) + 1);
    for (let at = columns.lowerBound(uids[i] ?? 0); at < end; at++) {
      if ((columns.modSeq[at] ?? 0) > since) wanted[count++] = columns.uid[at] ?? 0;
    }
  }
  return wanted.subarray(0, count);
}

/** How many messages from `at` on are read together: bounded by number and by bytes of their bodies. */
function batchSize(summary: MailboxSummary, uids: Uint32Array, at: number): number {
  const most = Math.min(batchMessages, uids.length - at);
  let bytes = 0;
  for (let count = 0; count < most; count++) {
    const index = summary.columns.indexOf(uids[at + count] ?? 0);
    bytes += index < 0 ? 0 : (summary.columns.size[index] ?? 0);
    if (bytes >= batchBytes) return count + 1;
  }
  return most;
}

async function load(job: Job, uids: Uint32Array, needs: Needs): Promise<Batch> {
  const { columns } = job.summary;
  const present: number[] = [];
  const names: BodyName[] = [];
  for (const uid of uids) {
    const at = columns.indexOf(uid);
    if (at < 0) continue;
    present.push(uid);
    names.push({ tag: columns.bodyTag[at] ?? 0, lsn: columns.bodyLsn[at] ?? 0 });
  }
  const [statics, bodies] = await Promise.all([
    needs.statics ? job.statics.read({ uids: present, names }) : undefined,
    needs.bodies ? readBodies(job.engine, columns, present, names) : undefined,
  ]);
  return { uids: Uint32Array.from(present), statics, bodies };
}
