// UNAUTHENTICATE: the connection goes back to where it was before login, for another user. TLS stays,
// compression ends behind the OK. RFC 8437 §2, §3

import { capabilities } from "../capabilities.ts";
import { command, loggedIn, noArguments } from "../command.ts";
import { ok } from "../reply.ts";

export const unauthenticate = command({
  name: "UNAUTHENTICATE",
  states: loggedIn,
  sync: "none",
  parse: noArguments,
  run(session) {
    session.logOut();
    const reply = ok("Logged out", `CAPABILITY ${capabilities(session)}`);
    if (!session.host.compressed()) return Promise.resolve(reply);
    return Promise.resolve({
      ...reply,
      after: () => {
        session.host.endCompression();
        return Promise.resolve();
      },
    });
  },
});
