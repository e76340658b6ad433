// THREAD and UID THREAD. RFC 5256 §3, §4 (THREAD response)

import { enableCondstore } from "../condstore.ts";
import { command, onlySelected, selectedOf } from "../command.ts";
import type { Command } from "../command.ts";
import { badCharsetCode, no, ok } from "../reply.ts";
import { parseCharset, parseProgram } from "../search-arguments.ts";
import { searchedMailbox, searchSelected } from "../search-run.ts";
import { parseThreadAlgorithm } from "../syntax/sort-criteria.ts";
import { threadText } from "../thread-text.ts";
import { noThreads } from "../../../mail/thread-tree.ts";

export const thread = threading("THREAD", false);
export const uidThread = threading("UID THREAD", true);

function threading(name: string, byUid: boolean): Command {
  return command({
    name,
    states: onlySelected,
    silent: true,
    // RFC 5256 §3: no EXPUNGE while THREAD is answered, as its numbers would shift.
    sync: byUid ? "all" : "noExpunge",
    parse(cursor, session) {
      cursor.space();
      const algorithm = parseThreadAlgorithm(cursor);
      cursor.space();
      const charset = parseCharset(cursor);
      const mailbox = searchedMailbox(session, selectedOf(session));
      return { algorithm, program: parseProgram(cursor, session, charset, mailbox) };
    },
    async run(session, { algorithm, program }) {
      if (program === undefined) return no("The charset is not supported", badCharsetCode);
      const selected = selectedOf(session);
      if (program.modSeq) enableCondstore(session);
      const outcome = await searchSelected(session, selected, program, { thread: algorithm });
      const { uids, depths } = outcome.threads ?? noThreads;
      const { view } = selected;
      const numbers = Uint32Array.from(uids, (uid) => {
        const sequence = view.sequenceOf(uid);
        return byUid && sequence > 0 ? uid : sequence;
      });
      const text = threadText(numbers, depths);
      const { out } = session;
      out.text("* THREAD");
      if (text !== "") out.text(" ").text(text);
      out.text("\r\n");
      return ok(`${name} completed`);
    },
  });
}
