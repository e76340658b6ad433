// COMPRESS DEFLATE: from the line end of the OK on, both directions are deflated. RFC 4978 §3

import { command, loggedIn, noArguments } from "../command.ts";
import { bad, no, ok } from "../reply.ts";

export const compress = command({
  name: "COMPRESS",
  states: loggedIn,
  sync: "none",
  parse(cursor) {
    cursor.space();
    const mechanism = cursor.word();
    noArguments(cursor);
    return mechanism;
  },
  run(session, mechanism) {
    const { host } = session;
    if (mechanism !== "DEFLATE") return Promise.resolve(bad("The mechanism is not known"));
    if (host.compressed()) {
      return Promise.resolve(no("DEFLATE is active already", "COMPRESSIONACTIVE"));
    }
    return Promise.resolve({
      ...ok("DEFLATE active"),
      after: () => {
        // RFC 4978 §3: what follows the command's line end is compressed, also when it is here already.
        host.startCompression(session.input.takeAll());
        return Promise.resolve();
      },
    });
  },
});
