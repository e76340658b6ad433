// What EHLO and LHLO announce. Pure: only what works in the state the connection is in.

import type { SaslMechanism } from "../sasl/mechanisms.ts";

export interface OfferedExtensions {
  readonly messageBytesMax: number;
  readonly recipientsMax: number;
  readonly startTls: boolean;
  /** None: AUTH is not offered. */
  readonly mechanisms: readonly SaslMechanism[];
  readonly xclient: boolean;
}

/** The keyword lines behind the host name. RFC 5321 §4.1.1.1 */
export function extensionLines(offered: OfferedExtensions): readonly string[] {
  const lines = [
    "PIPELINING",
    `SIZE ${offered.messageBytesMax}`,
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "BINARYMIME",
    // RFC 9422 §4: what we limit anyway.
    `LIMITS RCPTMAX=${offered.recipientsMax}`,
  ];
  if (offered.startTls) lines.push("STARTTLS");
  if (offered.mechanisms.length > 0) lines.push(`AUTH ${offered.mechanisms.join(" ")}`);
  // No LOGIN: a proxy is believed about addresses, not about who somebody is.
  if (offered.xclient) lines.push("XCLIENT NAME ADDR PORT PROTO HELO");
  return lines;
}
