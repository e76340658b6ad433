// NOTIFY SET and NOTIFY NONE: what the client wants to be told without asking. RFC 5465 §3.1

import { command, loggedIn } from "../command.ts";
import { Notifier } from "../notifier.ts";
import { no, ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { eventNames, parseNotify } from "../syntax/notify-groups.ts";

export const notify = command({
  name: "NOTIFY",
  states: loggedIn,
  parse: parseNotify,
  async run(session, request): Promise<Reply> {
    // RFC 5465 §5: nothing changes then.
    if (request.badEvent) return no("An event is not supported", `BADEVENT (${eventNames})`);
    const notifier = new Notifier(session, request.groups);
    await notifier.start(request);
    session.notify?.close();
    session.notify = notifier;
    return ok("NOTIFY completed");
  },
});
