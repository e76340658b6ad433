// CLOSE and UNSELECT. RFC 9051 §6.4.1, §6.4.2

import { command, noArguments, onlySelected, selectedOf } from "../command.ts";
import { ok } from "../reply.ts";
import { expungeInParts } from "./expunge.ts";

/** Removes \Deleted messages without telling, and leaves the mailbox. */
export const close = command({
  name: "CLOSE",
  states: onlySelected,
  sync: "none",
  parse: noArguments,
  async run(session) {
    const selected = selectedOf(session);
    if (!selected.readOnly) await expungeInParts(session, selected, undefined, () => {});
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
