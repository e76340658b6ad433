// SUBSCRIBE and UNSUBSCRIBE. RFC 9051 §6.3.7, §6.3.8

import { command, loggedIn } from "../command.ts";
import type { Command } from "../command.ts";
import { parseOnlyMailbox } from "../names.ts";
import { ok } from "../reply.ts";

export const subscribe = subscribing("SUBSCRIBE", true);
export const unsubscribe = subscribing("UNSUBSCRIBE", false);

function subscribing(name: string, subscribed: boolean): Command {
  return command({
    name,
    states: loggedIn,
    parse: parseOnlyMailbox,
    async run(session, mailbox) {
      const request = { name: mailbox(), subscribed, ...session.change() };
      await session.services.store.setSubscribed(session.principal, request, session.signal);
      return ok(`${name} completed`);
    },
  });
}
