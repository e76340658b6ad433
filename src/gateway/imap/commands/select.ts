// SELECT and EXAMINE, with CONDSTORE and QRESYNC parameters. RFC 9051 §6.3.2, RFC 7162 §3.1.8, §3.2.5

import { enableCondstore } from "../condstore.ts";
import { command, loggedIn } from "../command.ts";
import type { Command } from "../command.ts";
import { parseMailbox, writeMailbox } from "../names.ts";
import { changesSinceKept, parseQresync, tellResynchronised } from "../qresync.ts";
import type { QresyncParameter } from "../qresync.ts";
import { ok } from "../reply.ts";
import type { Reply } from "../reply.ts";
import { writeUntaggedOk } from "../responses.ts";
import { mailboxObjectId } from "../status-items.ts";
import { Selected } from "../selected.ts";
import type { Session } from "../session.ts";
import { SP } from "../syntax/characters.ts";
import type { Cursor } from "../syntax/cursor.ts";
import type { OpenMailbox } from "../../../mail/mail-store.ts";

export const select = opening("SELECT", false);
export const examine = opening("EXAMINE", true);

interface Parameters {
  readonly condstore: boolean;
  readonly qresync: QresyncParameter | undefined;
}

function opening(name: string, readOnly: boolean): Command {
  return command({
    name,
    states: loggedIn,
    sync: "none",
    parse(cursor, session) {
      cursor.space();
      const mailbox = parseMailbox(cursor, session);
      const parameters = parseParameters(cursor, session);
      cursor.end();
      return { mailbox, parameters };
    },
    async run(session, { mailbox, parameters }): Promise<Reply> {
      // RFC 9051 §6.3.2: the old mailbox is left even when the new one can't be opened.
      if (session.selected !== undefined) {
        session.unselect();
        writeUntaggedOk(session.out, "CLOSED", "Previous mailbox is closed");
      }
      const open = await session.services.store.openMailbox(
        session.principal,
        { name: mailbox(), claimRecent: !readOnly && !session.rev2 },
        session.signal,
      );
      const selected = new Selected(open, readOnly);
      const { condstore, qresync } = parameters;
      const changes = qresync && (await changesSinceKept(session, selected, qresync));
      if (condstore) enableCondstore(session);
      session.selected = selected;
      session.notify?.selectedAnew();
      tellMailbox(session, selected, open);
      if (qresync && changes) tellResynchronised(session, selected, changes, qresync);
      return ok(`${name} completed`, readOnly ? "READ-ONLY" : "READ-WRITE");
    },
  });
}

function tellMailbox(session: Session, selected: Selected, open: OpenMailbox): void {
  const { out } = session;
  const { info } = open;
  selected.writeKnownFlags(session);
  selected.writeExists(session);
  const unseen = open.firstUnseen === 0 ? 0 : selected.view.sequenceOf(open.firstUnseen);
  // RFC 9586 §3.6: it would be a message number.
  if (unseen > 0 && !session.rev2 && !session.uidOnly)
    writeUntaggedOk(out, `UNSEEN ${unseen}`, "First unseen");
  writeUntaggedOk(out, `UIDVALIDITY ${info.uidValidity}`, "UIDs are valid");
  writeUntaggedOk(out, `UIDNEXT ${info.uidNext}`, "Predicted next UID");
  writeUntaggedOk(out, `MAILBOXID (${mailboxObjectId(info)})`, "Id"); // RFC 8474 §4.2
  writeUntaggedOk(out, `HIGHESTMODSEQ ${info.highestModSeq}`, "Highest");
  if (session.rev2) {
    // RFC 9051 §6.3.2: LIST with the mailbox's real name.
    out.text('* LIST () "/" ');
    writeMailbox(session, info.name);
    out.text("\r\n");
  }
}

function parseParameters(cursor: Cursor, session: Session): Parameters {
  let condstore = false;
  let qresync: QresyncParameter | undefined;
  if (cursor.skip(SP) && !cursor.atEnd) {
    cursor.list(() => {
      const name = cursor.word();
      if (name === "CONDSTORE") condstore = true;
      else if (name === "QRESYNC") {
        // RFC 7162 §3.2.5: only after ENABLE QRESYNC.
        if (!session.qresync) cursor.fail("QRESYNC is not enabled");
        qresync = parseQresync(cursor, session.uidOnly);
      } else cursor.fail("unknown SELECT parameter");
    });
  }
  return { condstore, qresync };
}
