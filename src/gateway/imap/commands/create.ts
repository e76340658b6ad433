// CREATE, with a special use. RFC 9051 §6.3.4, RFC 6154 §3

import { command, loggedIn } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { no, ok } from "../reply.ts";
import { mailboxObjectId } from "../status-items.ts";
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
    const info = await session.services.store.createMailbox(
      session.principal,
      { name, ...(specialUse === undefined ? {} : { specialUse }), ...session.change() },
      session.signal,
    );
    return ok("CREATE completed", `MAILBOXID (${mailboxObjectId(info)})`); // RFC 8474 §4.1
  },
});

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
