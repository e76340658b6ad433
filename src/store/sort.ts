// SORT at the node: the values to sort by come from columns and static rows, never from bodies; one
// array a criterion, no object or promise a message. RFC 5256 §3 (SORT), RFC 5957

import { unreachable } from "../lib/assert.ts";
import { baseSubject } from "../mail/base-subject.ts";
import { casemapKey } from "../mail/collation.ts";
import { decodeHeaderValue } from "../mail/mime/encoded-word.ts";
import type { EnvelopeAddress } from "../mail/sort-envelope.ts";
import { EnvelopeReader } from "../mail/sort-envelope.ts";
import { sortedOrder } from "../mail/sort-order.ts";
import type { SortColumn, SortCriterion, SortKey } from "../mail/sort-order.ts";
import type { Steps } from "../mail/steps.ts";
import { background } from "./background.ts";
import type { Engine } from "./engine.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { ListingCursor } from "./static-row.ts";
import type { StaticReader, Statics } from "./statics.ts";

const sliceMs = 5;

/** A mailbox whose messages are being listed. */
export interface Listing {
  readonly engine: Engine;
  readonly statics: StaticReader;
  readonly summary: MailboxSummary;
  readonly signal: AbortSignal;
}

/** The messages in the order asked for. @param uids ascending. */
export async function sortMessages(
  listing: Listing,
  uids: Uint32Array,
  criteria: readonly SortCriterion[],
): Promise<Uint32Array> {
  if (uids.length < 2) return uids;
  const values = new SortValues(listing.summary, uids, criteria);
  if (values.needStatics) {
    await forEachStatic(listing, uids, (at, bytes, start) => values.read(at, bytes, start));
  }
  const order = await runInSlices(listing, sortedOrder(uids.length, values.columns));
  return order.map((at) => uids[at] ?? 0);
}

/** Runs a long computation, and lets others have their turn every few milliseconds. */
export async function runInSlices<T>(
  { engine, signal }: Pick<Listing, "engine" | "signal">,
  steps: Steps<T>,
): Promise<T> {
  let sliceEndMs = engine.clock.monotonicMs() + sliceMs;
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (engine.clock.monotonicMs() < sliceEndMs) continue;
    await nextTurn();
    signal.throwIfAborted();
    sliceEndMs = engine.clock.monotonicMs() + sliceMs;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Runs `use` for each message that is there, with its static row's payload; ascending. */
export async function forEachStatic(
  { engine, statics, summary, signal }: Listing,
  uids: Uint32Array,
  use: (at: number, bytes: Buffer, start: number) => void,
): Promise<void> {
  const { columns } = summary;
  let from = 0;
  const start = (): Promise<{ places: number[]; read: Statics }> | undefined => {
    if (from >= uids.length) return undefined;
    const to = from + statics.batchSize(uids, from);
    const batch = { uids: new Array<number>(), names: new Array<{ tag: number; lsn: number }>() };
    const places: number[] = [];
    for (; from < to; from++) {
      const at = columns.indexOf(uids[from] ?? 0);
      if (at < 0) continue; // Expunged meanwhile.
      places.push(from);
      batch.uids.push(uids[from] ?? 0);
      batch.names.push({ tag: columns.bodyTag[at] ?? 0, lsn: columns.bodyLsn[at] ?? 0 });
    }
    return statics.read(batch).then((read) => ({ places, read }));
  };
  let next = start();
  let sliceEndMs = engine.clock.monotonicMs() + sliceMs;
  try {
    while (next !== undefined) {
      const { places, read } = await next;
      signal.throwIfAborted();
      next = start();
      for (let i = 0; i < places.length; i++) {
        const bytes = read.bytes[i];
        if (bytes !== undefined) use(places[i] ?? 0, bytes, read.starts[i] ?? 0);
      }
      if (engine.clock.monotonicMs() < sliceEndMs) continue;
      await nextTurn();
      sliceEndMs = engine.clock.monotonicMs() + sliceMs;
    }
  } finally {
    // Read ahead of a sort that was given up.
    if (next !== undefined) background(next);
  }
}

/** Sent date of a message: of its Date: header, else its INTERNALDATE. RFC 5256 §2.2 */
export function sentDate(summary: MailboxSummary, uid: number, headerMs: number): number {
  if (!Number.isNaN(headerMs)) return headerMs;
  const { columns } = summary;
  return (columns.date[columns.indexOf(uid)] ?? 0) * 1000;
}

type StaticKey = Exclude<SortKey, "arrival" | "size">;

/** One array a criterion, filled while rows are read. */
class SortValues {
  readonly columns: SortColumn[] = [];
  readonly needStatics: boolean;
  readonly #summary: MailboxSummary;
  readonly #uids: Uint32Array;
  readonly #texts: { readonly key: Exclude<StaticKey, "date">; readonly values: string[] }[] = [];
  readonly #dates: Float64Array[] = [];
  readonly #lies = new ListingCursor();
  readonly #envelope = new EnvelopeReader();

  constructor(summary: MailboxSummary, uids: Uint32Array, criteria: readonly SortCriterion[]) {
    this.#summary = summary;
    this.#uids = uids;
    for (const { key, reverse } of criteria) this.columns.push(this.#column(key, reverse));
    this.needStatics = this.#texts.length > 0 || this.#dates.length > 0;
  }

  read(at: number, bytes: Buffer, start: number): void {
    this.#lies.moveTo(bytes, start);
    for (const values of this.#dates) {
      values[at] = sentDate(this.#summary, this.#uids[at] ?? 0, this.#lies.sentMs(bytes));
    }
    if (this.#texts.length === 0) return;
    this.#envelope.moveTo(bytes, this.#lies.envelopeStart);
    for (const { key, values } of this.#texts) values[at] = textValue(this.#envelope, key);
  }

  #column(key: SortKey, reverse: boolean): SortColumn {
    const { columns } = this.#summary;
    switch (key) {
      case "arrival":
        return { reverse, values: this.#numbers((at) => columns.date[at] ?? 0) };
      case "size":
        return { reverse, values: this.#numbers((at) => columns.size[at] ?? 0) };
      case "date": {
        const values = new Float64Array(this.#uids.length);
        this.#dates.push(values);
        return { reverse, values };
      }
      default: {
        // An absent field is the empty string. RFC 5256 §3
        const values = new Array<string>(this.#uids.length).fill("");
        this.#texts.push({ key, values });
        return { reverse, values };
      }
    }
  }

  #numbers(valueAt: (at: number) => number): Float64Array {
    const { columns } = this.#summary;
    return Float64Array.from(this.#uids, (uid) => valueAt(columns.indexOf(uid)));
  }
}

/** The text to sort by, as a key of the collation. */
function textValue(envelope: EnvelopeReader, key: Exclude<StaticKey, "date">): string {
  switch (key) {
    case "subject":
      return casemapKey(baseSubject(decodeHeaderValue(envelope.text("subject") ?? "")).text);
    case "from":
    case "to":
    case "cc":
      return casemapKey(decodeHeaderValue(envelope.firstAddress(key)?.mailbox ?? ""));
    case "displayFrom":
      return casemapKey(displayText(envelope.firstAddress("from")));
    case "displayTo":
      return casemapKey(displayText(envelope.firstAddress("to")));
    default:
      return unreachable(key);
  }
}

/** RFC 5957 §3 */
function displayText(address: EnvelopeAddress | undefined): string {
  if (address === undefined) return "";
  const name = address.name === undefined ? "" : decodeHeaderValue(address.name);
  if (name !== "") return name;
  const { mailbox, host } = address;
  return decodeHeaderValue(host === undefined ? (mailbox ?? "") : `${mailbox ?? ""}@${host}`);
}
