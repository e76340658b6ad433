// Untagged responses that several commands send: strings, flag lists, names, one message's flags.
// RFC 9051 §7

import type { FlagState } from "../../mail/mail-store.ts";
import type { Output } from "./output.ts";
import type { Reply } from "./reply.ts";
import type { Session } from "./session.ts";

/** `tag OK [code] text`. */
export function writeReply(out: Output, tag: string, reply: Reply): void {
  out.text(tag).text(" ").text(reply.status).text(" ");
  if (reply.code !== undefined) out.text("[").text(reply.code).text("] ");
  out.text(reply.text).text("\r\n");
}

/** `* OK [code] text`. */
export function writeUntaggedOk(out: Output, code: string, text: string): void {
  out.text("* OK [").text(code).text("] ").text(text).text("\r\n");
}

/** `* NO [code] text`. */
export function writeUntaggedNo(out: Output, code: string, text: string): void {
  out.text("* NO [").text(code).text("] ").text(text).text("\r\n");
}

/** A string as quoted, or as a literal when it can't be. 8-bit is quoted only when the client knows UTF-8. */
export function writeString(out: Output, text: string, utf8: boolean): void {
  const quotable = utf8 ? /^[^\0\r\n]*$/ : /^[\x01-\x09\x0b\x0c\x0e-\x7f]*$/;
  if (text.length <= 1000 && quotable.test(text)) {
    out.text('"').utf8(text.replace(/["\\]/g, "\\$&")).text('"');
    return;
  }
  const bytes = Buffer.from(text, "utf8");
  out.text("{").number(bytes.length).text("}\r\n").bytes(bytes);
}

/** `\Seen $Forwarded`, without parentheses. */
export function writeFlags(out: Output, flags: readonly string[], recent: boolean): void {
  let first = true;
  for (const flag of flags) {
    if (!first) out.text(" ");
    out.text(flag);
    first = false;
  }
  if (recent) out.text(first ? "\\Recent" : " \\Recent");
}

/**
 * `* n FETCH (…)` with the state of one message.
 * @param show What the client learns: `modSeq` alone answers STORE .SILENT once CONDSTORE is on
 *   (RFC 7162 §3.1.3).
 */
export function writeFlagState(
  session: Session,
  sequence: number,
  state: FlagState,
  show: { readonly uid: boolean; readonly flags: boolean; readonly recent: boolean },
): void {
  const { out, uidOnly } = session;
  out.fetchStart(uidOnly ? state.uid : sequence, uidOnly);
  const uid = show.uid && !uidOnly;
  if (uid) out.text("UID ").number(state.uid);
  if (show.flags) {
    out.text(uid ? " FLAGS (" : "FLAGS (");
    writeFlags(out, state.flags, show.recent);
    out.text(")");
  }
  if (session.condstore) {
    out
      .text(uid || show.flags ? " MODSEQ (" : "MODSEQ (")
      .number(state.modSeq)
      .text(")");
  }
  out.text(")\r\n");
}
