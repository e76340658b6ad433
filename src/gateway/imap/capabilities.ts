// What CAPABILITY says: exactly what works in the session's state. RFC 9051 §7.2.2

import { offeredMechanisms } from "../sasl/mechanisms.ts";
import type { SaslMechanism } from "../sasl/mechanisms.ts";
import type { Session } from "./session.ts";

const always = "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE SASL-IR";
// RFC 7888 §4: LITERAL+ contains LITERAL-, and both may not be announced.
const afterLogin =
  "IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE " +
  "CREATE-SPECIAL-USE STATUS=SIZE ESEARCH ESORT MULTISEARCH SEARCHRES WITHIN PARTIAL SORT " +
  "SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES CONTEXT=SEARCH CONTEXT=SORT OBJECTID " +
  "PREVIEW SAVEDATE CONDSTORE QRESYNC QUOTA " +
  "QUOTA=RES-STORAGE QUOTA=RES-MESSAGE MULTIAPPEND CATENATE REPLACE BINARY UTF8=ACCEPT " +
  "UNAUTHENTICATE INPROGRESS UIDONLY NOTIFY METADATA ACL RIGHTS=texk LIST-MYRIGHTS LIST-METADATA";

/** The capability list, without the word CAPABILITY. */
export function capabilities(session: Session): string {
  if (session.user !== undefined) {
    // RFC 4978 §3: not once it is active.
    const compress = session.host.compressed() ? "" : " COMPRESS=DEFLATE";
    return `${always} ${afterLogin}${compress} APPENDLIMIT=${session.limits.messageBytesMax}`;
  }
  const list = [always];
  if (startTlsAvailable(session)) list.push("STARTTLS");
  for (const mechanism of mechanismsOf(session)) list.push(`AUTH=${mechanism}`);
  if (!loginAllowed(session)) list.push("LOGINDISABLED");
  return list.join(" ");
}

/** RFC 9051 §11.3: none in the clear, unless the operator allows it for this address. */
export function mechanismsOf({ host, services }: Session): readonly SaslMechanism[] {
  const secure = host.secure();
  if (!secure && !services.plaintextLoginAllowed(host.address)) return [];
  return offeredMechanisms(services.saslMechanisms, secure);
}

/** LOGIN is allowed where a mechanism is that gives the password itself. */
export function loginAllowed(session: Session): boolean {
  return mechanismsOf(session).some((each) => each === "PLAIN" || each === "LOGIN");
}

export function startTlsAvailable(session: Session): boolean {
  return !session.host.secure() && session.services.secureContext() !== undefined;
}
