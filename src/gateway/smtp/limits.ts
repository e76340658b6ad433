// Limits of an SMTP, submission or LMTP listener. All come from the configuration; refusals name them.

import type { BareNewlines } from "./data-decoder.ts";

export interface SmtpLimits {
  readonly messageBytesMax: number;
  readonly recipientsMax: number;
  /** Recipients that don't exist, in one connection. */
  readonly unknownRecipientsMax: number;
  readonly hopsMax: number;
  readonly badCommandsMax: number;
  readonly lineBytesMax: number;
  readonly authLineBytesMax: number;
  readonly textLineBytesMax: number;
  /** Connections of an IPv4 address or an IPv6 /64; loopback and trusted proxies are exempt. */
  readonly connectionsPerAddressMax: number;
  readonly commandTimeoutMs: number;
  /** From the greeting to a good login, on submission ports. */
  readonly authenticationMs: number;
  /** TLS handshake, and a PROXY header that has begun. */
  readonly tlsHandshakeMs: number;
  /** Least bytes a minute that a client must send of a message. */
  readonly dataBytesPerMinuteMin: number;
  readonly bareNewlines: BareNewlines;
  /** How long a mail node that is away is waited for before its recipients' mail goes to the spool. */
  readonly spoolAfterMs: number;
  /** Wait before the greeting that shows who talks too early; 0 for trusted networks. */
  readonly greetingDelayMs: number;
  /** SCRAM-SHA-256-PLUS is offered. */
  readonly channelBinding: boolean;
}

export const defaultSmtpLimits: SmtpLimits = {
  messageBytesMax: 50 * 1024 * 1024,
  recipientsMax: 1000,
  unknownRecipientsMax: 100,
  hopsMax: 50,
  badCommandsMax: 10,
  lineBytesMax: 2048,
  authLineBytesMax: 16 * 1024,
  textLineBytesMax: 64 * 1024,
  connectionsPerAddressMax: 50,
  commandTimeoutMs: 300_000,
  authenticationMs: 60_000,
  tlsHandshakeMs: 10_000,
  dataBytesPerMinuteMin: 6000,
  bareNewlines: "normalise",
  spoolAfterMs: 2000,
  greetingDelayMs: 0,
  channelBinding: false,
};
