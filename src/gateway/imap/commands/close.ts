// CLOSE and UNSELECT. RFC 9051 §6.4.1, §6.4.2

import { command, noArguments, onlySelected, selectedOf } from "../command.ts";
import { ok } from "../reply.ts";

/** Removes \Deleted messages without telling, and leaves the mailbox. */
export const close = command({
  name: "CLOSE",
  states: onlySelected,
  sync: "none",
  parse: noArguments,
  async run(session) {
    const selected = selectedOf(session);
    if (!selected.readOnly) {
      const request = { ...session.change(), mailbox: selected.id };
      await session.services.store.expunge(session.principal, request, session.signal);
    }
    session.unselect();
    return ok("CLOSE completed");
  },
});

export const unselect = command({
  name: "UNSELECT",
  states: onlySelected,
  sync: "none",
  parse: noArguments,
  run(session) {
    session.unselect();
    return Promise.resolve(ok("UNSELECT completed"));
  },
});
