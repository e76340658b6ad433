// Every limit of the IMAP front-end in one table, with the defaults of docs/config.md. Values come
// from the configuration; the refusal that a limit causes names it.

export interface ImapLimits {
  /** Bytes of one command with its kept literals, before login. */
  readonly unauthenticatedCommandBytesMax: number;
  /** Literals in one command and bytes in each, before login. */
  readonly unauthenticatedLiteralsMax: number;
  readonly unauthenticatedLiteralBytesMax: number;
  /** Bytes of one command with its kept literals, after login. APPEND's messages don't count. */
  readonly commandBytesMax: number;
  /** The largest `{n+}` outside APPEND. RFC 7888 §5 has the same 4096 for LITERAL-. */
  readonly nonSyncLiteralBytesMax: number;
  /** A base64 line of AUTHENTICATE. */
  readonly authLineBytesMax: number;
  /** Depth of parentheses in a command. */
  readonly nestingMax: number;
  /** The largest message that APPEND takes (APPENDLIMIT). */
  readonly messageBytesMax: number;
  /** Larger messages are streamed to the store as blobs. */
  readonly inlineBytesMax: number;
  /** Messages in one APPEND. RFC 3502 */
  readonly appendMessagesMax: number;
  /** Messages of one change of the store: larger MOVEs and EXPUNGEs are several, one after the other. */
  readonly changedAtOnceMax: number;
  readonly connectionsPerUserMax: number;
  readonly connectionsPerAddressMax: number;
  readonly connectionsMax: number;
  /** Output waiting in this process after which a session stops producing. */
  readonly outputBytesMax: number;
  /** Greeting to authentication. */
  readonly loginMs: number;
  /** First byte of a command to its last. */
  readonly commandReadMs: number;
  /** Silence between commands, and in IDLE, after which the session ends. RFC 9051 §5.4: at least 30 minutes. */
  readonly autologoutMs: number;
  /** Between two `* OK` lines in IDLE, which keep address translators from forgetting the connection. */
  readonly idleKeepAliveMs: number;
  /** Between two INPROGRESS lines of a command that takes long. RFC 9585 §4 */
  readonly inProgressMs: number;
  /** Mailboxes that NOTIFY tells of at once; more are an overflow. RFC 5465 §5.8 */
  readonly notifyMailboxesMax: number;
  /** Output without progress. */
  readonly outputStuckMs: number;
  readonly tlsHandshakeMs: number;
  /** How long a selected mailbox may be out of reach before BYE. */
  readonly resyncMs: number;
  /** Between the last byte taken by the client and its hang-up, before the connection is cut. */
  readonly closeGraceMs: number;
  /** Refused commands in a row (bad syntax, unknown) before BYE. */
  readonly badCommandsMax: number;
  /** Refused logins before BYE. */
  readonly loginFailuresMax: number;
}

export const defaultImapLimits: ImapLimits = {
  unauthenticatedCommandBytesMax: 8 * 1024,
  unauthenticatedLiteralsMax: 4,
  unauthenticatedLiteralBytesMax: 1024,
  commandBytesMax: 64 * 1024,
  nonSyncLiteralBytesMax: 4 * 1024,
  authLineBytesMax: 16 * 1024,
  nestingMax: 32,
  messageBytesMax: 50 * 1024 * 1024,
  inlineBytesMax: 256 * 1024,
  appendMessagesMax: 1000,
  changedAtOnceMax: 10_000,
  connectionsPerUserMax: 20,
  connectionsPerAddressMax: 50,
  connectionsMax: 50_000,
  outputBytesMax: 1024 * 1024,
  loginMs: 60_000,
  commandReadMs: 5 * 60_000,
  autologoutMs: 30 * 60_000,
  idleKeepAliveMs: 2 * 60_000,
  inProgressMs: 10_000,
  notifyMailboxesMax: 1000,
  outputStuckMs: 5 * 60_000,
  tlsHandshakeMs: 10_000,
  resyncMs: 30_000,
  closeGraceMs: 5000,
  badCommandsMax: 20,
  loginFailuresMax: 10,
};
