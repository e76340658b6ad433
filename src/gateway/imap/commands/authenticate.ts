// AUTHENTICATE PLAIN, with and without an initial response. RFC 9051 §6.2.2, RFC 4616, RFC 4959

import { SP } from "../syntax/characters.ts";
import { passwordsAllowed } from "../capabilities.ts";
import { command, notLoggedIn } from "../command.ts";
import { logIn } from "../login.ts";
import { bad, no } from "../reply.ts";
import type { Reply } from "../reply.ts";
import type { Session } from "../session.ts";

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
  async run(session, { mechanism, initial }) {
    if (mechanism !== "PLAIN") return no("The mechanism is not supported", "CANNOT");
    if (!passwordsAllowed(session)) {
      return no("AUTHENTICATE needs TLS first, use STARTTLS", "PRIVACYREQUIRED");
    }
    const response = initial ?? (await askForResponse(session));
    if (typeof response !== "string") return response;
    // RFC 4959 §3: "=" is an empty initial response.
    const decoded = decodeBase64(response === "=" ? "" : response);
    if (decoded === undefined) return bad("The response is not base64");
    const [authzid, login, password, ...rest] = decoded.split("\0");
    if (authzid === undefined || login === undefined || password === undefined || rest.length > 0) {
      return bad("The response is not that of PLAIN");
    }
    if (authzid !== "" && authzid !== login) {
      return no("Logging in for another user is not permitted", "AUTHORIZATIONFAILED");
    }
    return logIn(session, login, password, "AUTHENTICATE");
  },
});

async function askForResponse(session: Session): Promise<string | Reply> {
  session.out.text("+ \r\n").end();
  const event = await session.input.line(session.limits.authLineBytesMax);
  if (event.kind === "tooLong") return { ...bad("The line is too long"), bye: "Line too long" };
  if (event.kind !== "command") return bad("AUTHENTICATE was cut off");
  const line = Buffer.from(event.text).toString("latin1");
  return line === "*" ? bad("AUTHENTICATE cancelled") : line;
}

/** Strict base64 of UTF-8 text; Node's decoder alone would skip what it doesn't know. */
function decodeBase64(text: string): string | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(text, "base64"),
    );
  } catch {
    return undefined;
  }
}
