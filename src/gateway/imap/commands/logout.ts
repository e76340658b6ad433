// LOGOUT. RFC 9051 §6.1.3

import { anyState, command, noArguments } from "../command.ts";
import { ok } from "../reply.ts";

export const logout = command({
  name: "LOGOUT",
  states: anyState,
  sync: "none",
  parse: noArguments,
  run(session) {
    session.unselect();
    session.loggedOut = true;
    session.out.text("* BYE Logging out\r\n");
    return Promise.resolve(ok("LOGOUT completed"));
  },
});
