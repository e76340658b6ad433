// STATUS. RFC 9051 §6.3.11, RFC 8438 (SIZE), RFC 7889 (APPENDLIMIT), RFC 9208 §4.1.4 (DELETED-STORAGE)

import { command, loggedIn } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { ok } from "../reply.ts";
import { parseStatusItems, prepareStatus, writeStatus } from "../status-items.ts";

export const status = command({
  name: "STATUS",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const mailbox = parseMailbox(cursor, session);
    cursor.space();
    const items = parseStatusItems(cursor);
    cursor.end();
    return { mailbox, items };
  },
  async run(session, { mailbox, items }) {
    const { store } = session.services;
    const info = await store.mailboxStatus(session.principal, mailbox(), session.signal);
    const extra = await prepareStatus(session, info, items);
    writeStatus(session, info, items, extra);
    return ok("STATUS completed");
  },
});
