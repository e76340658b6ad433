// Limits of an SMTP, submission or LMTP listener. All come from the configuration; refusals name them.

import type { BareNewlines } from "./data-decoder.ts";

export interface SmtpLimits {
  readonly messageBytesMax: number;
  readonly recipientsMax: number;
  readonly hopsMax: number;
  readonly badCommandsMax: number;
  readonly lineBytesMax: number;
  readonly authLineBytesMax: number;
  readonly textLineBytesMax: number;
  readonly connectionsPerAddressMax: number;
  readonly commandTimeoutMs: number;
  /** Least bytes a minute that a client must send of a message. */
  readonly dataBytesPerMinuteMin: number;
  readonly bareNewlines: BareNewlines;
  /** Wait before the greeting that shows who talks too early; 0 for trusted networks. */
  readonly greetingDelayMs: number;
}
