// GETMETADATA and SETMETADATA: annotations of mailboxes, and of the server as the account sees it.
// RFC 5464

import { command, loggedIn } from "../command.ts";
import { parseMailbox, writeMailbox } from "../names.ts";
import { no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeString } from "../responses.ts";
import type { Session } from "../session.ts";
import type { Cursor } from "../syntax/cursor.ts";
import {
  isWithin,
  parseMetadataOptions,
  parseMetadataQuery,
  parseMetadataValues,
} from "../syntax/metadata-entries.ts";
import { isMailError } from "../../../mail/errors.ts";
import type { Annotation } from "../../../mail/mail-store.ts";

export const getMetadata = command({
  name: "GETMETADATA",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const options = parseMetadataOptions(cursor);
    const mailbox = parseAnnotated(cursor, session);
    cursor.space();
    const query = parseMetadataQuery(cursor, options);
    cursor.end();
    return { mailbox, query };
  },
  async run(session, { mailbox, query }): Promise<Reply> {
    const { entries, depth, maxSize = Number.POSITIVE_INFINITY } = query;
    const name = mailbox();
    const { store } = session.services;
    const request = { mailbox: name };
    const [found] = await store.annotations(session.principal, request, session.signal);
    const wanted = (found?.annotations ?? []).filter((annotation) =>
      entries.some((entry) => isWithin(annotation.entry, entry, depth)),
    );
    const short = wanted.filter(({ value }) => value.length <= maxSize);
    // RFC 5464 §4.4.1: entries without a value are left out.
    if (short.length > 0) writeMetadata(session, name, short);
    if (short.length === wanted.length) return ok("GETMETADATA completed");
    // RFC 5464 §4.2.1: how large the largest one is that was left out.
    const largest = Math.max(...wanted.map(({ value }) => value.length));
    return ok("GETMETADATA completed", `METADATA LONGENTRIES ${largest}`);
  },
});

export const setMetadata = command({
  name: "SETMETADATA",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const mailbox = parseAnnotated(cursor, session);
    cursor.space();
    const entries = parseMetadataValues(cursor);
    cursor.end();
    return { mailbox, entries };
  },
  async run(session, { mailbox, entries }): Promise<Reply> {
    const name = mailbox();
    // What all users would see is the operator's.
    if (name === "" && entries.some(({ entry }) => entry.startsWith("/shared"))) {
      return no("Annotations that all users share are the operator's", "NOPERM");
    }
    if (entries.some(({ entry }) => entry === "/private" || entry === "/shared")) {
      return no("The entry can't have a value", "CANNOT");
    }
    const { store } = session.services;
    const request = { mailbox: name, entries, ...session.change() };
    try {
      await store.annotate(session.principal, request, session.signal);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      return refusal;
    }
    return ok("SETMETADATA completed");
  },
});

/** `* METADATA "name" (entry value entry value)`; undefined is NIL. RFC 5464 §4.4.1 */
export function writeMetadata(
  session: Session,
  mailbox: string,
  annotations: readonly {
    readonly entry: string;
    readonly value: Annotation["value"] | undefined;
  }[],
): void {
  const { out } = session;
  out.text("* METADATA ");
  writeMailbox(session, mailbox);
  let before = " (";
  for (const { entry, value } of annotations) {
    out.text(before);
    // Quoted when it has to be: in RFC 5464's examples it is an atom.
    if (/^[\w/.$&'+,:;<=>?@[^`|}~!#-]+$/.test(entry)) out.text(entry);
    else writeString(out, entry, false);
    out.text(" ");
    writeValue(session, value);
    before = " ";
  }
  out.text(")\r\n");
}

function writeValue({ out }: Session, value: Uint8Array | undefined): void {
  if (value === undefined) {
    out.text("NIL");
    return;
  }
  const isShort = value.length <= 1000;
  if (isShort && value.every((byte) => byte >= 0x20 && byte < 0x7f)) {
    writeString(out, Buffer.from(value).toString("latin1"), false);
    return;
  }
  // RFC 9051 §4.3: NUL needs literal8.
  out
    .text(value.includes(0) ? "~{" : "{")
    .number(value.length)
    .text("}\r\n")
    .bytes(value);
}

/** A mailbox name, or the empty one for the server. */
function parseAnnotated(cursor: Cursor, session: Session): () => string {
  const isEmpty = cursor.bytes[cursor.at] === 0x22 && cursor.bytes[cursor.at + 1] === 0x22;
  if (!isEmpty) return parseMailbox(cursor, session);
  cursor.string();
  return () => "";
}

/** RFC 5464 §4.3: which limit it was. */
function refusalOf(error: unknown): Reply | undefined {
  if (!isMailError(error, "LIMIT")) return undefined;
  const { failure } = error;
  if (failure.code !== "LIMIT") return undefined;
  switch (failure.limit) {
    case "annotationBytesMax":
      return no(`A value has at most ${failure.most} bytes`, `METADATA MAXSIZE ${failure.most}`);
    case "annotationsMax":
      return no(`A mailbox has at most ${failure.most} annotations`, "METADATA TOOMANY");
    case "accountAnnotationBytesMax":
      return no(`All annotations have at most ${failure.most} bytes`, "METADATA TOOMANY");
    default:
      return undefined;
  }
}
