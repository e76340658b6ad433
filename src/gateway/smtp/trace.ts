// Trace headers put before a message: Return-Path and Received. Every part is cleaned, so that
// nothing a client said can start a header of its own.

export interface TraceFacts {
  /** Reverse path without brackets; empty for bounces. */
  readonly sender: string;
  /** What the client called itself. */
  readonly helo: string;
  readonly address: string;
  readonly hostName: string;
  readonly protocol: string;
  readonly deliveryId: string;
  /** Named only when it is the only one, so that Bcc stays blind. */
  readonly onlyRecipient: string | undefined;
  readonly dateMs: number;
  /** A login stands in Received without its name. */
  readonly tls: string | undefined;
}

/** The header lines with CRLF, Return-Path first. RFC 5321 §4.4 */
export function traceHeaders(facts: TraceFacts): Buffer {
  const address = facts.address.includes(":") ? `IPv6:${facts.address}` : facts.address;
  const tls = facts.tls === undefined ? "" : ` (${clean(facts.tls)})`;
  const recipient =
    facts.onlyRecipient === undefined ? "" : `\r\n\tfor <${cleanPath(facts.onlyRecipient)}>`;
  return Buffer.from(
    `Return-Path: <${cleanPath(facts.sender)}>\r\n` +
      `Received: from ${clean(facts.helo) || "unknown"} ([${address}])${tls}\r\n` +
      `\tby ${facts.hostName} with ${facts.protocol} id ${facts.deliveryId}${recipient};\r\n` +
      `\t${rfc5322Date(facts.dateMs)}\r\n`,
  );
}

/** Without what could end a word, a comment or a line, and not longer than a line may be. */
function clean(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f()<>\\;,"]/g, "").slice(0, 320);
}

/** Paths were parsed before, quotes are part of them; all that is left to fear are line ends. */
function cleanPath(path: string): string {
  return path.replace(/[\u0000-\u001f\u007f-\u009f]/g, "").slice(0, 400);
}

let lastSecond = -1;
let lastDate = "";

/** `Sun, 22 Nov 2026 16:00:00 +0000`; kept for the second, as deliveries come by the thousand. */
export function rfc5322Date(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second !== lastSecond) {
    lastSecond = second;
    lastDate = new Date(second * 1000).toUTCString().replace("GMT", "+0000");
  }
  return lastDate;
}
