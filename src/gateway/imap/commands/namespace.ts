// NAMESPACE: one personal namespace, everything in it (groups too). RFC 9051 §6.3.10

import { command, loggedIn, noArguments } from "../command.ts";
import { ok } from "../reply.ts";

export const namespace = command({
  name: "NAMESPACE",
  states: loggedIn,
  parse: noArguments,
  run(session) {
    session.out.text('* NAMESPACE (("" "/")) NIL NIL\r\n');
    return Promise.resolve(ok("NAMESPACE completed"));
  },
});
