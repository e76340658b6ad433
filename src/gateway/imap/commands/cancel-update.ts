// CANCELUPDATE: searches that were to be kept up to date are so no more. RFC 5267 §4.3.5

import { command, onlySelected, selectedOf } from "../command.ts";
import { ok } from "../reply.ts";

export const cancelUpdate = command({
  name: "CANCELUPDATE",
  states: onlySelected,
  parse(cursor) {
    const tags: string[] = [];
    do {
      cursor.space();
      tags.push(cursor.text(cursor.string()));
    } while (cursor.ok && !cursor.atEnd);
    return tags;
  },
  run(session, tags) {
    // One that updates no more, or never did, needs nothing.
    for (const tag of tags) selectedOf(session).contexts.cancel(tag);
    return Promise.resolve(ok("CANCELUPDATE completed"));
  },
});
