// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE: one change of the list of mailboxes each.
// RFC 9051 §6.3.4 to §6.3.8, RFC 6154 §3 (CREATE with USE)

import { command, loggedIn } from "../command.ts";
import type { Command } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { no, ok } from "../reply.ts";
import { writeUntaggedOk } from "../responses.ts";
import { backslash, SP } from "../syntax/characters.ts";
import type { Cursor } from "../syntax/cursor.ts";

const specialUses = new Map(
  ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"].map((use) => [
    use.toLowerCase(),
    use,
  ]),
);

export const create = command({
  name: "CREATE",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const mailbox = parseMailbox(cursor, session);
    const uses = parseUses(cursor);
    cursor.end();
    return { mailbox, uses };
  },
  async run(session, { mailbox, uses }) {
    const name = mailbox();
    const [specialUse, ...more] = uses;
    // \All and \Flagged are views over other mailboxes, which there are none of here.
    if (more.length > 0 || specialUse === "\\All" || specialUse === "\\Flagged") {
      return no("This special use can't be given", "USEATTR"); // RFC 6154 §3
    }
    await session.services.store.createMailbox(
      session.principal,
      { ...session.change(), name, ...(specialUse === undefined ? {} : { specialUse }) },
      session.signal,
    );
    return ok("CREATE completed");
  },
});

export const remove = command({
  name: "DELETE",
  states: loggedIn,
  parse: (cursor, session) => oneMailbox(cursor, () => parseMailbox(cursor, session)),
  async run(session, mailbox) {
    const name = mailbox();
    if (session.selected?.name === name) {
      // Our own deletion must not look like somebody else's, which ends the session.
      session.unselect();
      writeUntaggedOk(session.out, "CLOSED", "The selected mailbox is closed for deletion");
    }
    const request = { ...session.change(), name };
    await session.services.store.deleteMailbox(session.principal, request, session.signal);
    return ok("DELETE completed");
  },
});

export const rename = command({
  name: "RENAME",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const from = parseMailbox(cursor, session);
    cursor.space();
    const to = parseMailbox(cursor, session);
    cursor.end();
    return { from, to };
  },
  async run(session, { from, to }) {
    const request = { ...session.change(), from: from(), to: to() };
    await session.services.store.renameMailbox(session.principal, request, session.signal);
    // RFC 9051 §6.3.6: renaming INBOX moves its messages out.
    if (session.selected?.name === request.from) session.selected.markStale();
    return ok("RENAME completed");
  },
});

export const subscribe = subscribing("SUBSCRIBE", true);
export const unsubscribe = subscribing("UNSUBSCRIBE", false);

function subscribing(name: string, subscribed: boolean): Command {
  return command({
    name,
    states: loggedIn,
    parse: (cursor, session) => oneMailbox(cursor, () => parseMailbox(cursor, session)),
    async run(session, mailbox) {
      const request = { ...session.change(), name: mailbox(), subscribed };
      await session.services.store.setSubscribed(session.principal, request, session.signal);
      return ok(`${name} completed`);
    },
  });
}

function oneMailbox<T>(cursor: Cursor, parse: () => T): T {
  cursor.space();
  const mailbox = parse();
  cursor.end();
  return mailbox;
}

/** ` (USE (\Sent))`. */
function parseUses(cursor: Cursor): readonly string[] {
  const uses: string[] = [];
  if (!cursor.skip(SP) || cursor.atEnd) return uses;
  cursor.list(() => {
    if (cursor.word() !== "USE") return cursor.fail("unknown CREATE parameter");
    cursor.space();
    cursor.list(() => {
      cursor.expect(backslash);
      const use = specialUses.get(`\\${cursor.atom().toLowerCase()}`);
      if (use === undefined) return cursor.fail("unknown special use");
      uses.push(use);
    });
  });
  return uses;
}
