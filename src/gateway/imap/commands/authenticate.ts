// AUTHENTICATE, with and without an initial response. RFC 9051 §6.2.2, RFC 4959. The mechanisms are
// gateway/sasl.

import { startSasl } from "../../sasl/exchange.ts";
import type { SaslStep } from "../../sasl/exchange.ts";
import { fromBase64 } from "../../sasl/text.ts";
import { mechanismsOf } from "../capabilities.ts";
import { command, notLoggedIn } from "../command.ts";
import { logIn } from "../login.ts";
import { bad, no } from "../reply.ts";
import type { Reply } from "../reply.ts";
import type { Session } from "../session.ts";
import { SP } from "../syntax/characters.ts";

export const authenticate = command({
  name: "AUTHENTICATE",
  states: notLoggedIn,
  sync: "none",
  parse(cursor) {
    cursor.space();
    const mechanism = cursor.word();
    let initial: string | undefined;
    if (cursor.skip(SP) && !cursor.atEnd) initial = cursor.astringText();
    cursor.end();
    return { mechanism, initial };
  },
  async run(session, { mechanism: name, initial }) {
    const { services, host, signal } = session;
    const offered = mechanismsOf(session);
    const mechanism = offered.find((each) => each === name);
    if (mechanism === undefined) {
      // RFC 9051 §6.2.2
      const isKnown = services.saslMechanisms.some((each) => each === name);
      return isKnown && !host.secure()
        ? no("AUTHENTICATE needs TLS first, use STARTTLS", "PRIVACYREQUIRED")
        : no("The mechanism is not supported", "CANNOT");
    }
    const { exchange, first } = startSasl(mechanism, {
      auth: services.auth,
      address: host.address,
      binding: host.channelBinding(),
      bindingOffered: offered.includes("SCRAM-SHA-256-PLUS"),
      signal,
    });
    // RFC 4959 §3: "=" is an empty initial response.
    let said = initial === "=" ? "" : (initial ?? (await ask(session, first)));
    for (;;) {
      if (typeof said !== "string") return said;
      const response = fromBase64(said);
      if (response === undefined) return bad("The response is not base64");
      const step: SaslStep = await exchange.respond(response);
      switch (step.kind) {
        case "challenge":
          said = await ask(session, step.bytes);
          break;
        case "malformed":
          return bad(step.why);
        case "forbidden":
          return no("Logging in for another user is not permitted", "AUTHORIZATIONFAILED");
        case "verdict":
          return logIn(session, step.login, step.verdict, "AUTHENTICATE");
      }
    }
  },
});

/** The client's answer to a challenge, still in base64; or the end of the command. */
async function ask(session: Session, challenge: Uint8Array): Promise<string | Reply> {
  session.out.text(`+ ${Buffer.from(challenge).toString("base64")}\r\n`).end();
  const event = await session.input.line(session.limits.authLineBytesMax);
  if (event.kind === "tooLong") return { ...bad("The line is too long"), bye: "Line too long" };
  if (event.kind !== "command") return bad("AUTHENTICATE was cut off");
  const line = Buffer.from(event.text).toString("latin1");
  return line === "*" ? bad("AUTHENTICATE cancelled") : line;
}
