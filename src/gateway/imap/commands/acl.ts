// MYRIGHTS, GETACL, LISTRIGHTS, SETACL, DELETEACL. Personal mailboxes are shared with nobody, so an
// owner has all rights and nobody else can be given any; rights in other mailboxes (groups) are the
// store's to say, and theirs to change. RFC 4314

import { command, loggedIn } from "../command.ts";
import { parseMailbox, parseOnlyMailbox, writeMailbox } from "../names.ts";
import type { MailboxArgument } from "../names.ts";
import { bad, no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeString } from "../responses.ts";
import { hasAllRights, isOwner, isRights, rightsOf } from "../rights.ts";
import type { Session } from "../session.ts";
import type { Cursor } from "../syntax/cursor.ts";
import type { MailboxInfo } from "../../../mail/mail-store.ts";

/** RFC 4314 §3.5 */
export const myRights = command({
  name: "MYRIGHTS",
  states: loggedIn,
  parse: parseOnlyMailbox,
  async run(session, mailbox): Promise<Reply> {
    writeMyRights(session, await infoOf(session, mailbox));
    return ok("MYRIGHTS completed");
  },
});

/** RFC 4314 §3.3 */
export const getAcl = command({
  name: "GETACL",
  states: loggedIn,
  parse: parseOnlyMailbox,
  async run(session, mailbox): Promise<Reply> {
    const info = await infoOf(session, mailbox);
    if (!mayAdminister(info)) return notPermitted;
    const { out } = session;
    out.text("* ACL ");
    writeMailbox(session, info.name);
    out.text(" ");
    writeString(out, ownName(session), session.utf8);
    out.text(" ").text(rightsOf(info)).text("\r\n");
    return ok("GETACL completed");
  },
});

/** RFC 4314 §3.4: an owner's rights can't be taken away, and others can be given none. */
export const listRights = command({
  name: "LISTRIGHTS",
  states: loggedIn,
  parse(cursor, session) {
    const target = parseTarget(cursor, session);
    cursor.end();
    return target;
  },
  async run(session, { mailbox, identifier }): Promise<Reply> {
    const info = await infoOf(session, mailbox);
    if (!mayAdminister(info)) return notPermitted;
    const { out } = session;
    out.text("* LISTRIGHTS ");
    writeMailbox(session, info.name);
    out.text(" ");
    writeString(out, identifier, session.utf8);
    out.text(isSelf(session, identifier) ? ` ${rightsOf(info)}` : ' ""').text("\r\n");
    return ok("LISTRIGHTS completed");
  },
});

/** RFC 4314 §3.1 */
export const setAcl = command({
  name: "SETACL",
  states: loggedIn,
  parse(cursor, session) {
    const target = parseTarget(cursor, session);
    cursor.space();
    const change = cursor.astringText();
    cursor.end();
    return { ...target, change };
  },
  async run(session, { mailbox, identifier, change }): Promise<Reply> {
    const sign = /^[+-]/.exec(change)?.[0];
    const rights = sign === undefined ? change : change.slice(1);
    if (!isRights(rights)) return bad("Rights are small letters and digits");
    const info = await infoOf(session, mailbox);
    if (!mayAdminister(info)) return notPermitted;
    if (!isSelf(session, identifier)) return no("Mailboxes can't be shared with others", "NOPERM");
    const keepsAll = sign === "+" || (sign === "-" ? rights === "" : hasAllRights(rights));
    return keepsAll ? ok("SETACL completed") : no("An owner keeps all rights", "NOPERM");
  },
});

/** RFC 4314 §3.2 */
export const deleteAcl = command({
  name: "DELETEACL",
  states: loggedIn,
  parse(cursor, session) {
    const target = parseTarget(cursor, session);
    cursor.end();
    return target;
  },
  async run(session, { mailbox, identifier }): Promise<Reply> {
    const info = await infoOf(session, mailbox);
    if (!mayAdminister(info)) return notPermitted;
    if (isSelf(session, identifier)) return no("An owner keeps all rights", "NOPERM");
    return ok("DELETEACL completed, there was no entry");
  },
});

/** `* MYRIGHTS name rights`. RFC 4314 §3.8; RFC 8440 §3 for LIST */
export function writeMyRights(session: Session, info: MailboxInfo): void {
  session.out.text("* MYRIGHTS ");
  writeMailbox(session, info.name);
  session.out.text(" ").text(rightsOf(info)).text("\r\n");
}

const notPermitted = no("The rights of this mailbox are not yours to see", "NOPERM");

function mayAdminister(info: MailboxInfo): boolean {
  return isOwner(info) || info.rights?.includes("a") === true;
}

function infoOf(session: Session, mailbox: MailboxArgument): Promise<MailboxInfo> {
  return session.services.store.mailboxStatus(session.principal, mailbox(), session.signal);
}

function parseTarget(
  cursor: Cursor,
  session: Session,
): { readonly mailbox: MailboxArgument; readonly identifier: string } {
  cursor.space();
  const mailbox = parseMailbox(cursor, session);
  cursor.space();
  const identifier = cursor.astringText();
  if (identifier === "") cursor.fail("expected an identifier");
  return { mailbox, identifier };
}

function ownName({ user }: Session): string {
  return user?.name ?? "";
}

/** The full name, `user` alone, or `owner` as Dovecot has it. */
function isSelf(session: Session, identifier: string): boolean {
  const name = ownName(session);
  const given = identifier.normalize("NFC").toLowerCase();
  return given === name || given === "owner" || `${given}@` === name.slice(0, given.length + 1);
}
