// STARTTLS: everything the client sent before the handshake is dropped. RFC 9051 §6.2.1, §11.2

import { startTlsAvailable } from "../capabilities.ts";
import { command, noArguments, notLoggedIn } from "../command.ts";
import { bad, ok } from "../reply.ts";

export const starttls = command({
  name: "STARTTLS",
  states: notLoggedIn,
  sync: "none",
  parse: noArguments,
  run(session) {
    if (session.host.secure()) return Promise.resolve(bad("TLS is active already"));
    if (!startTlsAvailable(session)) return Promise.resolve(bad("TLS is not available"));
    return Promise.resolve({
      ...ok("Begin TLS negotiation now"),
      after: async () => {
        // Whole lines and half lines alike (CVE-2011-0411, CVE-2021-33515), and what they changed.
        session.input.clear();
        session.forgetPlaintextState();
        await session.host.startTls();
      },
    });
  },
});
