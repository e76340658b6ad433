// SORT and UID SORT, plain and with RETURN. RFC 5256 §3, RFC 5957 (SORT=DISPLAY), RFC 5267 §3 (ESORT),
// §4 (CONTEXT=SORT)

import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { parseCharset, parseProgram } from "../search-arguments.ts";
import { checkUpdateTag, runSearch, searchedMailbox } from "../search-run.ts";
import { parseReturns } from "../syntax/search-returns.ts";
import { parseSortCriteria } from "../syntax/sort-criteria.ts";

export const sort = sorting("SORT", false);
export const uidSort = sorting("UID SORT", true);

function sorting(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    silent: true,
    // RFC 5256 §3: no EXPUNGE while SORT is answered, as its numbers would shift.
    sync: byUid ? "all" : "noExpunge",
    parse(cursor, session) {
      cursor.space();
      const returns = parseReturns(cursor);
      checkUpdateTag(cursor, session, returns);
      const criteria = parseSortCriteria(cursor);
      cursor.space();
      const charset = parseCharset(cursor);
      const mailbox = searchedMailbox(session, selectedOf(session));
      return { returns, criteria, program: parseProgram(cursor, session, charset, mailbox) };
    },
    run(session, { returns, criteria, program }) {
      const plan = { name, byUid, returns, program, sort: criteria };
      return runSearch(session, selectedOf(session), plan);
    },
  });
}
