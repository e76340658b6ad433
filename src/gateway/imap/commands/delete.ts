// DELETE. RFC 9051 §6.3.5

import { command, loggedIn } from "../command.ts";
import { parseOnlyMailbox } from "../names.ts";
import { ok } from "../reply.ts";
import { writeUntaggedOk } from "../responses.ts";

export const remove = command({
  name: "DELETE",
  states: loggedIn,
  parse: parseOnlyMailbox,
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
