// LOGIN. RFC 9051 §6.2.3

import { loginAllowed } from "../capabilities.ts";
import { command, notLoggedIn } from "../command.ts";
import { logIn } from "../login.ts";
import { no } from "../reply.ts";

export const login = command({
  name: "LOGIN",
  states: notLoggedIn,
  sync: "none",
  parse(cursor) {
    cursor.space();
    const name = cursor.astringText();
    cursor.space();
    const password = cursor.astringText();
    cursor.end();
    return { name, password };
  },
  async run(session, { name, password }) {
    const { services, host, signal } = session;
    if (!loginAllowed(session)) {
      return host.secure()
        ? no("LOGIN is not offered here", "CANNOT")
        : no("LOGIN needs TLS first, use STARTTLS", "PRIVACYREQUIRED");
    }
    const verdict = await services.auth.verify(name, password, host.address, signal);
    return logIn(session, name, verdict, "LOGIN");
  },
});
