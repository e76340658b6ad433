// Annotations of mailboxes and of the server. RFC 5464

/** RFC 5464 §3.1: a name like `/private/comment`, in lower case. */
export interface Annotation {
  readonly entry: string;
  readonly value: Uint8Array;
}
export interface MailboxAnnotations {
  /** Name of the mailbox; empty: the server's, as this account sees it. */
  readonly mailbox: string;
  readonly annotations: readonly Annotation[];
}
