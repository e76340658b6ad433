// CONDSTORE awareness: what switches it on, and what the client learns then. RFC 7162 §3.1

import { writeUntaggedOk } from "./responses.ts";
import type { Session } from "./session.ts";

/**
 * From here on every untagged FETCH carries MODSEQ. RFC 7162 §3.1.2.1: in the selected state the
 * client is told HIGHESTMODSEQ when its first CONDSTORE command comes.
 */
export function enableCondstore(session: Session): void {
  if (session.condstore) return;
  session.condstore = true;
  const { selected } = session;
  if (selected !== undefined) {
    writeUntaggedOk(session.out, `HIGHESTMODSEQ ${selected.highestModSeq}`, "Highest");
  }
}
