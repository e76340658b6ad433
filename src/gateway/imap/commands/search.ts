// SEARCH and UID SEARCH, plain and with RETURN, and the saved result `$`. RFC 9051 §6.4.4, §7.3.4;
// RFC 4731 (ESEARCH), RFC 5182 (SEARCHRES), RFC 7162 §3.1.5 (MODSEQ), RFC 5267 §4 (CONTEXT=SEARCH)

import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { parseOptionalCharset, parseProgram } from "../search-arguments.ts";
import { checkUpdateTag, runSearch, searchedMailbox } from "../search-run.ts";
import { parseReturns } from "../syntax/search-returns.ts";

export const search = searching("SEARCH", false);
export const uidSearch = searching("UID SEARCH", true);

function searching(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    silent: true,
    sync: byUid ? "all" : "noExpunge",
    parse(cursor, session) {
      cursor.space();
      const returns = parseReturns(cursor);
      checkUpdateTag(cursor, session, returns);
      const charset = parseOptionalCharset(cursor, session);
      const mailbox = searchedMailbox(session, selectedOf(session));
      return { returns, program: parseProgram(cursor, session, charset, mailbox) };
    },
    run(session, { returns, program }) {
      return runSearch(session, selectedOf(session), { name, byUid, returns, program });
    },
  });
}
