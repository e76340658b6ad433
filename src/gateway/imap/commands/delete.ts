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
    const request = { name, ...session.change() };
    const deletion = (): Promise<void> =>
      session.services.store.deleteMailbox(session.principal, request, session.signal);
    const { selected } = session;
    if (selected?.name !== name) {
      await deletion();
      return ok("DELETE completed");
    }
    await selected.deleteBy(session, deletion);
    session.unselect();
    writeUntaggedOk(session.out, "CLOSED", "The selected mailbox was deleted");
    return ok("DELETE completed");
  },
});
