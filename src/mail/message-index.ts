// What one pass over a message's bytes at delivery yields: everything that listings need, so that
// they never read a body. Made by the gateway (mail/mime), stored by the node, msgpack-able as it is.

/**
 * One MIME part. Offsets are bytes from the start of the message.
 * The header of the root part starts at 0. `bodyEnd` excludes the CRLF that belongs to the next boundary.
 */
export interface PartIndex {
  readonly headerStart: number;
  /** First byte of the body: behind the empty line; equals `bodyEnd` when there is none. */
  readonly bodyStart: number;
  readonly bodyEnd: number;
  /** Lower case, e.g. `text/plain`. */
  readonly type: string;
  /** Content-Transfer-Encoding in lower case: 7bit, 8bit, binary, base64, quoted-printable, or as found. */
  readonly encoding: string;
  /** Charset parameter in lower case, for text parts that have one. */
  readonly charset?: string;
  /** Parts of a multipart, in order. */
  readonly children?: readonly PartIndex[];
  /** The embedded message of a message/rfc822 or message/global part: its own root. */
  readonly message?: PartIndex;
}

export interface MessageIndex {
  /** RFC822.SIZE: the exact number of stored bytes. */
  readonly sizeBytes: number;
  /** ENVELOPE as rendered bytes, `("date" "subject" …)`. RFC 9051 §7.5.2 */
  readonly envelope: Uint8Array;
  /** BODYSTRUCTURE as rendered bytes, with extension data. RFC 9051 §7.5.2 */
  readonly bodyStructure: Uint8Array;
  readonly root: PartIndex;
  /** Date: header in milliseconds UTC; undefined when missing or unreadable. */
  readonly sentMs?: number;
  /** Zone of the Date: header, minutes east of UTC; SENTON and its like go by the day in that zone. RFC 9051 §6.4.4 */
  readonly sentZone?: number;
  /** Message-ID with its angle brackets, when there is one. */
  readonly messageId?: string;
  /**
   * References as one line, bounded (see boundedReferences); empty when the message has none. Absent
   * in an index of an older member: not known.
   */
  readonly references?: string;
  /** True when NUL or 8-bit bytes outside UTF-8 make the message `binary` or `8bit`; informative. */
  readonly has8bit?: boolean;
}
