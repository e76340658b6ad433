// The URLs of CATENATE: a message or a section of one in the user's own mailboxes, relative, without
// authorisation by URL. Whose mailboxes they are the mail node checks, as for any FETCH.
// RFC 4469 §3, RFC 5092 §7

import { isMailError, MailError } from "../../mail/errors.ts";
import { uid as makeUid, uidMax } from "../../mail/ids.ts";
import type { FetchSection, MailboxInfo } from "../../mail/mail-store.ts";
import { mailboxName } from "./names.ts";
import type { Session } from "./session.ts";
import { CR, LF } from "./syntax/characters.ts";
import { Cursor } from "./syntax/cursor.ts";
import { parseFetch } from "./syntax/fetch-items.ts";

interface MessageUrl {
  readonly mailbox: string;
  readonly uidValidity: number | undefined;
  readonly uid: number;
  readonly section: FetchSection | undefined;
}

/** The client's URL names nothing that can be had. */
export class BadUrl extends Error {
  readonly url: string;
  constructor(url: string, why: string, options?: ErrorOptions) {
    super(why, options);
    this.name = "BadUrl";
    this.url = url;
  }
}

/** The bytes that a URL names, in pieces. @throws BadUrl; MailError as the store's calls */
export async function* urlBytes(
  session: Session,
  text: string,
): AsyncGenerator<Uint8Array, void, void> {
  const url = parseMessageUrl(text);
  if (url === undefined) throw new BadUrl(text, "not a URL of a message here");
  const info = await mailboxOf(session, url, text);
  if (url.uidValidity !== undefined && url.uidValidity !== info.uidValidity) {
    throw new BadUrl(text, "UIDVALIDITY is another");
  }
  if (url.section === undefined) yield* wholeMessage(session, info, url, text);
  else yield* sectionBytes(session, info, url.uid, url.section, text);
}

/** `/mailbox;UIDVALIDITY=n/;UID=n/;SECTION=s`; undefined when it is anything else. RFC 5092 §11 */
export function parseMessageUrl(text: string): MessageUrl | undefined {
  const form =
    /^\/([^;]+)(?:;UIDVALIDITY=([1-9]\d{0,9}))?\/?;UID=([1-9]\d{0,9})(?:\/?;SECTION=([^;]+))?$/i;
  const [, encoded, validity, number, sectionText] = form.exec(text) ?? [];
  const uid = Number(number);
  if (encoded === undefined || !(uid <= uidMax)) return undefined;
  const name = decoded(encoded.replace(/\/$/, ""));
  if (name === undefined) return undefined;
  const section = sectionText === undefined ? undefined : parseSection(decoded(sectionText));
  if (sectionText !== undefined && section === undefined) return undefined;
  try {
    return {
      mailbox: mailboxName(name, true),
      uidValidity: validity === undefined ? undefined : Number(validity),
      uid,
      section,
    };
  } catch (error) {
    if (isMailError(error, "BAD_MAILBOX_NAME")) return undefined;
    throw error;
  }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // Broken percent-encoding is no URL.
  }
}

/** `1.2.HEADER.FIELDS (Subject)`, as between the brackets of BODY[]. */
function parseSection(text: string | undefined): FetchSection | undefined {
  if (text === undefined || !/^[\x20-\x7e]+$/.test(text)) return undefined;
  const cursor = new Cursor(Buffer.from(`BODY.PEEK[${text}]`), 2);
  const { items } = parseFetch(cursor, true);
  const [section] = items.sections ?? [];
  if (!cursor.ok || section === undefined || section.partial !== undefined) return undefined;
  return { ...section, label: "x" };
}

async function mailboxOf(session: Session, url: MessageUrl, text: string): Promise<MailboxInfo> {
  const { store } = session.services;
  try {
    return await store.mailboxStatus(session.principal, url.mailbox, session.signal);
  } catch (error) {
    if (!isMailError(error, "NO_SUCH_MAILBOX")) throw error;
    throw new BadUrl(text, "no such mailbox", { cause: error });
  }
}

async function* wholeMessage(
  session: Session,
  info: MailboxInfo,
  url: MessageUrl,
  text: string,
): AsyncGenerator<Uint8Array, void, void> {
  const request = { mailbox: info.id, uid: makeUid(url.uid), offset: 0 };
  const { store } = session.services;
  try {
    yield* store.readMessage(session.principal, request, session.signal);
  } catch (error) {
    if (!isMailError(error, "INVALID")) throw error;
    throw new BadUrl(text, "no such message", { cause: error });
  }
}

/** The value of the one section of a FETCH answer, without its literal's announcement. */
async function* sectionBytes(
  session: Session,
  info: MailboxInfo,
  uid: number,
  section: FetchSection,
  text: string,
): AsyncGenerator<Uint8Array, void, void> {
  const request = { mailbox: info.id, uids: [uid, uid], items: { sections: [section] } };
  const { store } = session.services;
  let begun = false;
  for await (const { bytes } of store.fetch(session.principal, request, session.signal)) {
    const from = begun ? 0 : valueStart(bytes, uid, section);
    if (from === undefined) throw new BadUrl(text, "no such part");
    begun = true;
    if (from < bytes.length) yield bytes.subarray(from);
  }
  if (!begun) throw new BadUrl(text, "no such message");
}

/** Where the value begins behind `UID n label {n}`; undefined when it is NIL. */
function valueStart(bytes: Uint8Array, uid: number, { label }: FetchSection): number | undefined {
  const at = `UID ${uid} ${label} `.length;
  const isLiteral = bytes[at] === 0x7b;
  if (!isLiteral) return bytes[at] === 0x22 ? bytes.length : undefined;
  const end = bytes.indexOf(LF, at);
  if (end < 0 || bytes[end - 1] !== CR) {
    throw new MailError({ code: "UNAVAILABLE", why: "a section came without its literal" });
  }
  return end + 1;
}
