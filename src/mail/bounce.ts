// The message that tells a sender of ours that mail which had been accepted could not be delivered.
// Pure. RFC 3464; RFC 5321 §6.1 (a bounce has an empty reverse path)

import { formatMessageDate } from "./dates.ts";

export interface BounceFacts {
  /** Who bounces: the name of this installation's host. */
  readonly hostName: string;
  readonly deliveryId: string;
  readonly sender: string;
  readonly recipient: string;
  readonly why: BounceReason;
  readonly nowMs: number;
  readonly arrivedMs: number;
  /** The beginning of the message that bounces. */
  readonly original: Uint8Array;
}

/** Enhanced status code and words. RFC 3463 */
export interface BounceReason {
  readonly status: string;
  readonly text: string;
}

const headerBytesMax = 32 * 1024;

/** The whole message, with CRLF line ends. */
export function bounceMessage(facts: BounceFacts): Buffer {
  const { hostName, deliveryId, sender, recipient, why, nowMs, arrivedMs } = facts;
  const boundary = `pabal-${deliveryId}`;
  const header = headerOf(facts.original);
  const lines = [
    "Return-Path: <>",
    `Date: ${formatMessageDate(nowMs)}`,
    `From: Mail Delivery System <MAILER-DAEMON@${hostName}>`,
    `To: <${plain(sender)}>`,
    "Subject: Mail could not be delivered",
    `Message-ID: <${deliveryId}.bounce@${hostName}>`,
    "Auto-Submitted: auto-replied", // RFC 3834 §5
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type=delivery-status; boundary="${boundary}"`,
    "",
    `--${boundary}`,
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    "Your message was accepted, but could not be delivered to:",
    "",
    `  ${plain(recipient)}`,
    `  ${why.text} (${why.status})`,
    "",
    "Its header is below.",
    "",
    `--${boundary}`,
    "Content-Type: message/delivery-status",
    "",
    `Reporting-MTA: dns; ${hostName}`, // RFC 3464 §2.2.2
    `Arrival-Date: ${formatMessageDate(arrivedMs)}`,
    "",
    `Final-Recipient: rfc822; ${plain(recipient)}`, // RFC 3464 §2.3.2
    "Action: failed",
    `Status: ${why.status}`,
    "",
    `--${boundary}`,
    "Content-Type: text/rfc822-headers",
    "Content-Transfer-Encoding: 8bit",
    "",
  ];
  const end = `\r\n--${boundary}--\r\n`;
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n`), header, Buffer.from(end)]);
}

/** Up to the empty line, cut behind a line when it is long. */
function headerOf(original: Uint8Array): Buffer {
  const bytes = Buffer.from(original.buffer, original.byteOffset, original.byteLength);
  const end = bytes.indexOf("\r\n\r\n");
  if (end !== -1 && end <= headerBytesMax) return bytes.subarray(0, end + 2);
  const cut = bytes.subarray(0, headerBytesMax);
  return cut.subarray(0, cut.lastIndexOf("\r\n") + 2);
}

/** An address that can't start a line of its own. */
function plain(address: string): string {
  return address.replace(/[\u0000-\u001f\u007f-\u009f]/g, "").slice(0, 400);
}
