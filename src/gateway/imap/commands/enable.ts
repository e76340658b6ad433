// ENABLE. RFC 9051 §6.3.1, RFC 7162 §3.2.3 (QRESYNC implies CONDSTORE), RFC 6855 §3, RFC 9586 §3.1

import { enableCondstore } from "../condstore.ts";
import { command, loggedIn } from "../command.ts";
import { ok } from "../reply.ts";

export const enable = command({
  name: "ENABLE",
  states: loggedIn,
  parse(cursor) {
    const names: string[] = [];
    do {
      cursor.space();
      names.push(cursor.word());
    } while (cursor.ok && !cursor.atEnd);
    return names;
  },
  run(session, names) {
    const enabled: string[] = [];
    for (const name of names) {
      switch (name) {
        case "CONDSTORE":
          enableCondstore(session);
          break;
        case "QRESYNC":
          enableCondstore(session);
          session.qresync = true;
          break;
        case "IMAP4REV2":
          session.rev2 = true;
          break;
        case "UIDONLY":
          session.uidOnly = true;
          break;
        case "UTF8=ACCEPT":
          session.utf8Accept = true;
          break;
        default:
          continue; // RFC 5161 §3.1: unknown ones are ignored.
      }
      enabled.push(name === "IMAP4REV2" ? "IMAP4rev2" : name);
    }
    session.out.text(["* ENABLED", ...enabled].join(" ")).text("\r\n");
    return Promise.resolve(ok("ENABLE completed"));
  },
});
