// ID. RFC 2971

import { anyState, command } from "../command.ts";
import { ok } from "../reply.ts";

const fieldsMax = 30;
const logLengthMax = 200;

export const id = command({
  name: "ID",
  states: anyState,
  parse(cursor) {
    cursor.space();
    const fields = new Map<string, string>();
    if (cursor.peekWord() === "NIL") {
      cursor.nstring();
    } else {
      cursor.list(() => {
        const name = cursor.text(cursor.string());
        cursor.space();
        const value = cursor.nstring();
        if (fields.size >= fieldsMax) cursor.fail(`ID has more than ${fieldsMax} fields`);
        if (value !== undefined) fields.set(name.toLowerCase(), cursor.text(value));
      });
    }
    cursor.end();
    return fields;
  },
  run(session, fields) {
    const client = [fields.get("name"), fields.get("version")]
      .filter((part) => part !== undefined)
      .join(" ");
    session.services.log.debug({ client: client.slice(0, logLengthMax) }, "imap client");
    session.out.text('* ID ("name" "Pabal" "vendor" "Pabal")\r\n');
    return Promise.resolve(ok("ID completed"));
  },
});
