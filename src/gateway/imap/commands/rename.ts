// RENAME. RFC 9051 §6.3.6

import { command, loggedIn } from "../command.ts";
import { parseMailbox } from "../names.ts";
import { ok } from "../reply.ts";

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
    const request = { from: from(), to: to(), ...session.change() };
    await session.services.store.renameMailbox(session.principal, request, session.signal);
    session.selected?.renamed(request.from, request.to);
    return ok("RENAME completed");
  },
});
