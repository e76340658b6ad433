// Words at the start of a line that are answered without being run: those of web clients, and commands
// of SMTP that are not offered. What is offered is in connection.ts.

/** A browser was made to talk to us: the connection ends at once. */
export const webVerbs: ReadonlySet<string> = new Set(
  "GET HEAD POST PUT DELETE OPTIONS TRACE CONNECT PATCH".split(" "),
);

/** RFC 5321 §4.2.4: known, but not offered. */
export const absentVerbs: ReadonlySet<string> = new Set(
  "EXPN TURN ETRN SEND SOML SAML XFORWARD BURL".split(" "),
);

/** Commands without secrets, which a log may show. What else comes may be AUTH, or a password out of turn. */
export const shownVerbs: ReadonlySet<string> = new Set(
  "MAIL RCPT DATA BDAT RSET EHLO LHLO HELO STARTTLS XCLIENT QUIT NOOP HELP VRFY".split(" "),
);

/** A reply that counts as a wrong command; wrong passwords do, too. */
export function isBad(code: number): boolean {
  return (code >= 500 && code <= 504) || code === 535;
}

export function hasArgument(line: Buffer): boolean {
  return line.toString("latin1").trim().includes(" ");
}

export const tooManyBad = "421 4.7.0 Too many bad commands (limits.badCommands)";
export const helpReply =
  "214 2.0.0 EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY STARTTLS AUTH QUIT, see RFC 5321";
/** What the name in EHLO must not have. */
export const unsafeName = /[\u0000-\u001f\u007f-\u009f\ufffd]/;
