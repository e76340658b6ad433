// CAPABILITY. RFC 9051 §6.1.1

import { capabilities } from "../capabilities.ts";
import { anyState, command, noArguments } from "../command.ts";
import { ok } from "../reply.ts";

export const capability = command({
  name: "CAPABILITY",
  states: anyState,
  parse: noArguments,
  run(session) {
    session.out.text("* CAPABILITY ").text(capabilities(session)).text("\r\n");
    return Promise.resolve(ok("CAPABILITY completed"));
  },
});
