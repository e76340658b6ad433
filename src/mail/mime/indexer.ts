// One pass over a message's bytes that finds its parts and what listings need. It works on any split
// of the bytes into chunks and keeps no body. Fields and rendering are other files' business; here
// is only the scan: lines, headers, delimiters, line counts, limits.

import { Buffer, isAscii } from "node:buffer";
import { parseMessageDate } from "../dates.ts";
import { boundedReferences } from "../message-ids.ts";
import type { MessageIndex } from "../message-index.ts";
import { writeBodyStructure } from "./body-structure.ts";
import { ByteWindow, countLf, cr, dash, indexOfLf, isTrailing, lf } from "./byte-window.ts";
import { writeEnvelope } from "./envelope.ts";
import type { HeaderValues } from "./header-values.ts";
import { headerValues, messageIdOf, noHeader, wantedField } from "./header-values.ts";
import { ImapWriter, oneLine } from "./imap-writer.ts";
import { mimeBudget, mimeLimits } from "./limits.ts";
import type { PartNode } from "./part-node.ts";
import { delimiterOf, makeLeaf, openNode, partIndex, readFields } from "./part-node.ts";

/** The index of a whole message in memory. Never throws, whatever the bytes. */
export function indexMessage(message: Uint8Array): MessageIndex {
  const indexer = new MessageIndexer();
  indexer.push(message);
  return indexer.finish();
}

const twoDashes = Buffer.from("--");
const delimiterBytesMax = mimeLimits.delimiterLineBytesMax;
/** Rendering is synchronous, so all indexers share one writer. */
const sharedWriter = new ImapWriter();

/**
 * Indexes a message that arrives in chunks: `push` each, then `finish` once. Keeps no chunk; memory
 * is bounded by `mimeLimits`. The result depends on the bytes only, not on how they were split.
 * @see RFC 2046 §5.1, RFC 5322 §2.2
 */
export class MessageIndexer {
  readonly #window = new ByteWindow();
  readonly #budget = mimeBudget();
  readonly #root = openNode(0);
  /** Open parts, from the root to the one being read. */
  readonly #stack: PartNode[] = [this.#root];
  /** Innermost open multipart of each delimiter. */
  readonly #delimiters = new Map<string, PartNode>();
  /** Lengths of these and of earlier delimiters. */
  readonly #lengths = new Set<number>();
  /** Open parts of kind message: their lines count, whatever is in them. */
  #messageDepth = 0;
  #inHeader = true;
  /** Index in the window where the scan goes on: the start of a line unless `#midLine`. */
  #at = 0;
  /** Up to here there is no LF in the line that starts at `#at`. */
  #searched = 0;
  /** Inside a line that is of no interest. */
  #midLine = false;
  #lines = 0;
  #has8bit = false;
  /** `field, start, end` of the wanted fields of the header being read, from its start. */
  #found: number[] = [];
  /** Values of a header that outgrew the budget before its end. */
  #early: HeaderValues | undefined;
  /** The field of the last header line is a wanted one. */
  #fieldOpen = false;
  #rootHeader: HeaderValues = noHeader;
  #envelope: Buffer = Buffer.alloc(0);

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (!this.#has8bit) this.#has8bit = !isAscii(bytes) || bytes.includes(0);
    this.#window.append(bytes);
    this.#scan(false);
    const kept = this.#inHeader && this.#early === undefined ? this.#headerAt() : this.#at;
    this.#window.keepFrom(kept);
    this.#at -= kept;
    this.#searched = Math.max(0, this.#searched - kept);
  }

  /** The index. The indexer can't be used afterwards. */
  finish(): MessageIndex {
    this.#scan(true);
    const sizeBytes = this.#window.end;
    this.#closeDownTo(0, sizeBytes, 0);
    const out = sharedWriter;
    writeBodyStructure(out, this.#root);
    const bodyStructure = out.take();
    const sent = parseMessageDate(oneLine(this.#rootHeader.date ?? ""));
    const messageId = messageIdOf(this.#rootHeader.messageId);
    return {
      sizeBytes,
      envelope: this.#envelope,
      bodyStructure,
      root: partIndex(this.#root),
      ...(sent === undefined ? {} : { sentMs: sent.ms, sentZone: sent.zoneMinutes }),
      ...(messageId === undefined ? {} : { messageId }),
      references: boundedReferences(oneLine(this.#rootHeader.references ?? "")),
      ...(this.#has8bit ? { has8bit: true } : {}),
    };
  }

  get #current(): PartNode {
    return this.#stack[this.#stack.length - 1] ?? this.#root;
  }

  /** Index in the window of the header being read. */
  #headerAt(): number {
    return this.#current.headerStart - this.#window.start;
  }

  #scan(final: boolean): void {
    while (this.#inHeader ? this.#scanHeader(final) : this.#scanBody(final));
  }

  /** Reads header lines; true when something else begins, false when the bytes ran out. */
  #scanHeader(final: boolean): boolean {
    const { bytes } = this.#window;
    const size = bytes.length;
    for (;;) {
      const start = this.#at;
      if (start >= size) return false;
      const at = bytes.indexOf(lf, Math.max(start, this.#searched));
      if (at < 0 && !final) {
        this.#searched = size;
        this.#giveUpLongLine();
        return false;
      }
      const end = at < 0 ? size : at;
      const next = at < 0 ? size : at + 1;
      if (at >= 0) this.#lines++;
      if (this.#midLine) {
        this.#midLine = false;
        this.#at = next;
        continue;
      }
      const first = bytes[start];
      if (at >= 0 && (end === start || (end === start + 1 && first === cr))) {
        this.#at = next;
        this.#endHeader(this.#window.start + next);
        return true;
      }
      if (first === dash && this.#delimiter(start, end, next, at >= 0)) return true;
      this.#headerLine(start, end);
      this.#at = next;
    }
  }

  /** Notes the line if it belongs to a wanted field and to the bytes that are indexed. */
  #headerLine(start: number, end: number): void {
    if (this.#early !== undefined) return;
    const base = this.#headerAt();
    if (end - base > this.#budget.headerBytes) {
      this.#readEarly();
      return;
    }
    const found = this.#found;
    const first = this.#window.bytes[start];
    if (first === 32 || first === 9) {
      if (this.#fieldOpen) found[found.length - 1] = end - base;
      return;
    }
    const field = wantedField(this.#window.bytes, start, end);
    this.#fieldOpen = field >= 0;
    if (field >= 0) found.push(field, start - base, end - base);
  }

  #readEarly(): void {
    this.#early = this.#values();
    this.#found = [];
    this.#fieldOpen = false;
  }

  #values(): HeaderValues {
    if (this.#early !== undefined) return this.#early;
    if (this.#found.length === 0) return noHeader;
    return headerValues(this.#window.bytes, this.#found, this.#headerAt(), this.#isMessageRoot());
  }

  // An unfinished line that is already too long to be indexed, or to be a delimiter, is let go.
  #giveUpLongLine(): void {
    const size = this.#window.bytes.length;
    const tooLong = size - this.#headerAt() > this.#budget.headerBytes;
    if (this.#early === undefined && tooLong) this.#readEarly();
    if (this.#early === undefined) return;
    if (!this.#midLine && size - this.#at <= delimiterBytesMax) return;
    this.#midLine = true;
    this.#at = size;
  }

  #isMessageRoot(): boolean {
    const parent = this.#stack[this.#stack.length - 2];
    return parent === undefined || parent.kind === "message";
  }

  /** The current part's header is over and its body begins at `bodyStart`. */
  #endHeader(bodyStart: number): void {
    const node = this.#current;
    const parent = this.#stack[this.#stack.length - 2];
    const values = this.#values();
    const inDigest = parent?.kind === "multipart" && parent.fields.type === "multipart/digest";
    if (this.#isMessageRoot()) {
      writeEnvelope(sharedWriter, values, this.#budget);
      const envelope = sharedWriter.take();
      if (parent === undefined) {
        this.#envelope = envelope;
        this.#rootHeader = values;
      } else {
        node.envelope = envelope;
      }
    }
    node.fields = readFields(values, inDigest, this.#budget);
    node.bodyStart = bodyStart;
    node.lines = this.#lines;
    this.#budget.headerBytes = Math.max(
      0,
      this.#budget.headerBytes - (bodyStart - node.headerStart),
    );
    this.#found = [];
    this.#early = undefined;
    this.#fieldOpen = false;
    this.#inHeader = false;
    this.#openBody(node, bodyStart);
  }

  #openBody(node: PartNode, bodyStart: number): void {
    const { type } = node.fields;
    const full = this.#stack.length >= mimeLimits.depthMax || this.#budget.parts <= 1;
    if (type === "message/rfc822" || type === "message/global") {
      if (full) {
        makeLeaf(node, "application/octet-stream");
        return;
      }
      node.kind = "message";
      node.message = openNode(bodyStart);
      this.#messageDepth++;
      this.#begin(node.message);
    } else if (type.startsWith("multipart/")) {
      const delimiter = delimiterOf(node.fields);
      if (full) {
        makeLeaf(node, "application/octet-stream");
      } else if (delimiter === undefined) {
        // RFC 2045 §5.2: without a boundary it is no valid type, hence plain text.
        makeLeaf(node, "text/plain");
      } else {
        node.kind = "multipart";
        node.delimiter = delimiter;
        this.#delimiters.set(delimiter, node);
        this.#lengths.add(delimiter.length);
      }
    } else {
      node.kind = "leaf";
    }
  }

  /** Starts reading the header of a new part. */
  #begin(node: PartNode): void {
    this.#stack.push(node);
    this.#inHeader = true;
    this.#searched = 0;
    this.#budget.parts--;
    // The last part that the limit allows takes the rest of the message.
    if (this.#budget.parts <= 1) this.#delimiters.clear();
  }

  /** Whether the lines of the bytes being read are wanted by the part or by one around it. */
  #counts(): boolean {
    const node = this.#current;
    if (this.#messageDepth > 0) return true;
    return node.kind === "leaf" ? node.fields.type.startsWith("text/") : node.children.length === 0;
  }

  /** Reads body bytes up to a delimiter; true when something else begins. */
  #scanBody(final: boolean): boolean {
    const { bytes } = this.#window;
    const size = bytes.length;
    const counts = this.#counts();
    if (this.#delimiters.size === 0) {
      if (counts) this.#lines += countLf(bytes, this.#at, size);
      this.#at = size;
      return false;
    }
    while (this.#at < size) {
      if (this.#midLine) {
        if (!this.#skipLine(this.#at)) return false;
        continue;
      }
      const start = this.#at;
      if (bytes[start] === dash && (start + 1 === size || bytes[start + 1] === dash)) {
        const at = indexOfLf(bytes, Math.max(start, this.#searched));
        if (at < 0 && !final && size - start <= delimiterBytesMax) {
          this.#searched = size;
          return false;
        }
        const end = at < 0 ? size : at;
        if (this.#delimiter(start, end, at < 0 ? size : at + 1, at >= 0)) return true;
        this.#skipLine(start);
        continue;
      }
      const hit = bytes.indexOf(twoDashes, start);
      if (hit < 0) {
        this.#passRest(start, counts);
        return false;
      }
      if (counts) this.#lines += countLf(bytes, start, hit);
      if (hit === start || bytes[hit - 1] === lf) this.#at = hit;
      else this.#skipLine(hit);
    }
    return false;
  }

  /** Passes over the line around index `from`; false when its end is not at hand. */
  #skipLine(from: number): boolean {
    const { bytes } = this.#window;
    const at = indexOfLf(bytes, from);
    this.#midLine = at < 0;
    this.#at = at < 0 ? bytes.length : at + 1;
    if (at >= 0) this.#lines++;
    return at >= 0;
  }

  /** Passes over bytes without `--`, but keeps a dash at their end that begins a line. */
  #passRest(start: number, counts: boolean): void {
    const { bytes } = this.#window;
    const size = bytes.length;
    if (counts) this.#lines += countLf(bytes, start, size);
    const lastDash = bytes[size - 1] === dash && (size - 1 === start || bytes[size - 2] === lf);
    this.#at = lastDash ? size - 1 : size;
    this.#midLine = !lastDash && bytes[size - 1] !== lf;
  }

  /**
   * Handles the line from `start` to `end` if it is a delimiter of an open multipart.
   * RFC 2046 §5.1.1; only blanks may follow, so that `--a` is not taken for the beginning of `--ab`.
   */
  #delimiter(start: number, end: number, next: number, ended: boolean): boolean {
    if (this.#delimiters.size === 0 || end - start > delimiterBytesMax) return false;
    const { bytes } = this.#window;
    let last = end;
    while (last > start && isTrailing(bytes[last - 1] ?? 0)) last--;
    if (last - start < 3 || bytes[start] !== dash || bytes[start + 1] !== dash) return false;
    // Most lines that begin with two dashes differ from all delimiters in length already.
    if (!this.#lengths.has(last - start) && !this.#lengths.has(last - start - 2)) return false;
    const line = bytes.toString("latin1", start, last);
    const opened = this.#delimiters.get(line);
    const closed =
      opened === undefined && line.endsWith("--")
        ? this.#delimiters.get(line.slice(0, -2))
        : undefined;
    const node = opened ?? closed;
    if (node === undefined) return false;
    // The line break before the delimiter belongs to it.
    const breakBytes =
      this.#window.byteAt(start - 1) !== lf ? 0 : this.#window.byteAt(start - 2) === cr ? 2 : 1;
    const lineStart = this.#window.start + start;
    // A delimiter met in a header line has already been counted; it is not the part's.
    const ownLine = this.#inHeader && ended ? 1 : 0;
    this.#closeDownTo(
      this.#stack.indexOf(node) + 1,
      lineStart - breakBytes,
      ownLine + (breakBytes > 0 ? 1 : 0),
    );
    if (ended && ownLine === 0) this.#lines++;
    this.#at = next;
    this.#inHeader = false;
    if (closed !== undefined) {
      this.#forget(node);
      // What follows is the epilogue, also of a multipart that was closed before its first part.
    } else {
      const child = openNode(this.#window.start + next);
      node.children.push(child);
      this.#begin(child);
    }
    return true;
  }

  /** Ends all open parts above `depth` at offset `end`; `extra` counted lines are not theirs. */
  #closeDownTo(depth: number, end: number, extra: number): void {
    while (this.#stack.length > depth) {
      if (this.#inHeader) {
        this.#endHeader(Math.max(end, this.#current.headerStart));
        continue;
      }
      const node = this.#current;
      node.bodyEnd = Math.max(end, node.bodyStart);
      node.lines = end > node.bodyStart ? Math.max(0, this.#lines - extra - node.lines) : 0;
      if (node.kind === "multipart" && node.children.length === 0) makeLeaf(node, "text/plain");
      if (node.kind === "message") this.#messageDepth--;
      this.#stack.pop();
      this.#forget(node);
    }
  }

  /** Its delimiter is one no more; an outer multipart with the same one gets it back. */
  #forget(node: PartNode): void {
    const { delimiter } = node;
    delete node.delimiter;
    if (delimiter === undefined || this.#delimiters.get(delimiter) !== node) return;
    const outer = this.#stack.findLast((open) => open !== node && open.delimiter === delimiter);
    if (outer === undefined) this.#delimiters.delete(delimiter);
    else this.#delimiters.set(delimiter, outer);
  }
}
