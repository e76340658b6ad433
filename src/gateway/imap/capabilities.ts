// What CAPABILITY says: exactly what works in the session's state. RFC 9051 §7.2.2

import type { Session } from "./session.ts";

const always = "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE SASL-IR";
// RFC 7888 §4: LITERAL+ contains LITERAL-, and both may not be announced.
const afterLogin =
  "IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE " +
  "CREATE-SPECIAL-USE STATUS=SIZE ESEARCH SEARCHRES WITHIN CONDSTORE QRESYNC QUOTA " +
  "QUOTA=RES-STORAGE QUOTA=RES-MESSAGE MULTIAPPEND CATENATE REPLACE BINARY UTF8=ACCEPT " +
  "UNAUTHENTICATE INPROGRESS UIDONLY METADATA ACL RIGHTS=texk LIST-MYRIGHTS LIST-METADATA";

/** The capability list, without the word CAPABILITY. */
export function capabilities(session: Session): string {
  if (session.user !== undefined) {
    // RFC 4978 §3: not once it is active.
    const compress = session.host.compressed() ? "" : " COMPRESS=DEFLATE";
    return `${always} ${afterLogin}${compress} APPENDLIMIT=${session.limits.messageBytesMax}`;
  }
  const list = [always];
  if (startTlsAvailable(session)) list.push("STARTTLS");
  // RFC 9051 §11.3: no password in the clear, unless the operator allows it for this address.
  list.push(passwordsAllowed(session) ? "AUTH=PLAIN" : "LOGINDISABLED");
  return list.join(" ");
}

export function startTlsAvailable(session: Session): boolean {
  return !session.host.secure() && session.services.secureContext() !== undefined;
}

export function passwordsAllowed(session: Session): boolean {
  return session.host.secure() || session.services.plaintextLoginAllowed(session.host.address);
}
