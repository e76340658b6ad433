// LOGIN. RFC 9051 §6.2.3

import { passwordsAllowed } from "../capabilities.ts";
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
  run(session, { name, password }) {
    if (!passwordsAllowed(session)) {
      return Promise.resolve(no("LOGIN needs TLS first, use STARTTLS", "PRIVACYREQUIRED"));
    }
    return logIn(session, name, password, "LOGIN");
  },
});
