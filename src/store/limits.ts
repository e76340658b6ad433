// Limits of the account engine. Values come from the configuration; these are its defaults.

export interface StoreLimits {
  /** A level of a mailbox name, in bytes of UTF-8. */
  readonly mailboxLevelBytesMax: number;
  readonly mailboxLevelsMax: number;
  readonly mailboxesMax: number;
  readonly subscriptionsMax: number;
  /** Distinct keywords in a mailbox. */
  readonly keywordsMax: number;
  readonly keywordBytesMax: number;
  /** Messages that one COPY, MOVE or RENAME INBOX may name: it is one entry of the log. */
  readonly messagesPerChangeMax: number;
  /** Messages of one MULTIAPPEND. RFC 3502 */
  readonly messagesPerAppendMax: number;
  /** Larger messages come as blobs. */
  readonly inlineBytesMax: number;
  /** RAM for message summaries. */
  readonly summaryBytesMax: number;
  /** Changes of a mailbox above its packed blocks before they are folded in. */
  readonly unfoldedMax: number;
  /** Messages whose static rows are packed into one page; fewer wait without one. */
  readonly pageMessagesMax: number;
  /** Accounts kept in RAM without being in use. */
  readonly accountsMax: number;
  /** LevelDB writes queued before changes wait. */
  readonly queuedBytesMax: number;
  /** Bytes of one annotation, annotations of one mailbox, bytes of all of an account. RFC 5464 §4.1 */
  readonly annotationBytesMax: number;
  readonly annotationsMax: number;
  readonly accountAnnotationBytesMax: number;
  /** How long an outcome is kept for retries. */
  readonly outcomeKeptMs: number;
  /** Mail that waits in a shard's spool for other shards: recipients, and bytes. */
  readonly spoolRecipientsMax: number;
  readonly spoolBytesMax: number;
  /** Unread events of a watcher; they are merged before that. */
  readonly watchedMailboxesMax: number;
}

export const defaultStoreLimits: StoreLimits = {
  mailboxLevelBytesMax: 255,
  mailboxLevelsMax: 32,
  mailboxesMax: 10_000,
  subscriptionsMax: 20_000,
  keywordsMax: 1000,
  keywordBytesMax: 255,
  messagesPerChangeMax: 200_000,
  messagesPerAppendMax: 256,
  inlineBytesMax: 256 * 1024,
  summaryBytesMax: 256 * 1024 * 1024,
  unfoldedMax: 2048,
  pageMessagesMax: 256,
  accountsMax: 20_000,
  queuedBytesMax: 64 * 1024 * 1024,
  annotationBytesMax: 32 * 1024,
  annotationsMax: 256,
  accountAnnotationBytesMax: 1024 * 1024,
  outcomeKeptMs: 24 * 3600 * 1000,
  spoolRecipientsMax: 20_000,
  spoolBytesMax: 1024 * 1024 * 1024,
  watchedMailboxesMax: 10_000,
};
