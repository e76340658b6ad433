// Mailbox addresses of SMTP envelopes, logins and the directory: strict syntax, one normal form, and
// the old routing tricks by name. Address lists of header fields are mail/mime/address-list.ts's.

import { Buffer } from "node:buffer";
import { isIPv4, isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { isWellFormed } from "./charset/unicode.ts";

export const localBytesMax = 64;
export const domainBytesMax = 255;

export interface Address {
  /** Without quotes and backslashes, as written. */
  readonly local: string;
  /** Lower-case A-labels, or an address literal `[192.0.2.1]`. */
  readonly domain: string;
}

const atom = "[A-Za-z0-9!#$%&'*+\\-/=?^_`{|}~\\u0080-\\u{10ffff}]+";
const atoms = new RegExp(`^${atom}(?:\\.${atom})*$`, "u");
const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const labels = new RegExp(`^${label}(?:\\.${label})*$`);

/**
 * Reads `local@domain` or `"quoted local"@domain`, without angle brackets; undefined when it is not
 * an address within the limits. UTF-8 is allowed on both sides (the caller checks SMTPUTF8).
 * @see RFC 5321 §4.1.2, §4.5.3.1, RFC 6531 §3.3
 */
export function parseAddress(text: string): Address | undefined {
  // Two bytes a character for quoting, and the `@`.
  if (text.length > 2 * localBytesMax + domainBytesMax + 3 || !isWellFormed(text)) return undefined;
  const at = text.startsWith('"') ? quotedEnd(text) : text.lastIndexOf("@");
  if (at < 1 || text[at] !== "@") return undefined;
  const local = readLocal(text.slice(0, at));
  const domain = normaliseDomain(text.slice(at + 1));
  if (local === undefined || domain === undefined) return undefined;
  if (Buffer.byteLength(local) > localBytesMax) return undefined;
  return { local, domain };
}

/** Behind the closing quote, or -1. */
function quotedEnd(text: string): number {
  for (let i = 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
  return -1;
}

function readLocal(text: string): string | undefined {
  if (!text.startsWith('"')) {
    return atoms.test(text) ? text : undefined;
  }
  const content = text.slice(1, -1);
  // RFC 5321 §4.1.2 (qtextSMTP, quoted-pairSMTP): printable characters and blanks only.
  if (content === "" || /[\u0000-\u001f\u007f-\u009f]/u.test(content)) return undefined;
  return content.replaceAll(/\\(.)/gs, "$1");
}

/** A domain in lower-case A-labels, or an address literal; undefined when it is neither. */
export function normaliseDomain(text: string): string | undefined {
  if (text.startsWith("[")) return addressLiteral(text);
  if (text === "" || text.length > domainBytesMax) return undefined;
  // RFC 5890 §2.3.2.1: A-labels are what is compared. Plain ASCII needs no mapping.
  // oxlint-disable-next-line no-control-regex
  const ascii = /^[\u0000-\u007f]*$/.test(text)
    ? text.toLowerCase()
    : domainToASCII(text.normalize("NFC"));
  if (ascii === "" || ascii.length > domainBytesMax) return undefined;
  // A number as the last label would be an IPv4 address without brackets.
  return labels.test(ascii) && !/(?:^|\.)\d+$/.test(ascii) ? ascii : undefined;
}

// RFC 5321 §4.1.3
function addressLiteral(text: string): string | undefined {
  if (!text.endsWith("]")) return undefined;
  const content = text.slice(1, -1);
  if (isIPv4(content)) return text;
  const v6 = /^ipv6:(.*)$/i.exec(content)?.[1];
  return v6 !== undefined && isIPv6(v6) && !v6.includes("%")
    ? `[IPv6:${v6.toLowerCase()}]`
    : undefined;
}

/** `local@domain` with the local part quoted where it must be. RFC 5321 §4.1.2 */
export function formatAddress({ local, domain }: Address): string {
  return `${atoms.test(local) ? local : `"${local.replaceAll(/["\\]/g, "\\$&")}"`}@${domain}`;
}

/**
 * The directory's form of an address: NFC, lower case, domain as A-label, local part unquoted where
 * it can be. Undefined when `text` is no address.
 */
export function normaliseAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : directoryName(address);
}

/** The directory's form of a parsed address. */
export function directoryName({ local, domain }: Address): string {
  return formatAddress({ local: normaliseLocal(local), domain });
}

/** Local parts compare without regard to case and composition here, as with every big host. */
export function normaliseLocal(local: string): string {
  return local.normalize("NFC").toLowerCase().normalize("NFC");
}

/** `user` of `user+tag`; a local part that begins with `+` has no tag. RFC 5233 §4 */
export function cutTag(local: string): string {
  const plus = local.indexOf("+");
  return plus > 0 ? local.slice(0, plus) : local;
}

/** The tag of `user+tag`, undefined without one. */
export function tagOf(local: string): string | undefined {
  const plus = local.indexOf("+");
  return plus > 0 ? local.slice(plus + 1) : undefined;
}

/**
 * Names the relaying trick that a path uses, undefined for a plain one. `text` is what stood between
 * the angle brackets. RFC 5321 §3.6.1 lets us refuse all of them.
 *
 * - `sourceRoute`: `@a,@b:user@c`
 * - `percent`: `user%far@here`, `bang`: `far!user@here`
 * - `quotedAt`: `"user@far"@here`, `user@far@here`
 */
export function routingTrick(
  text: string,
): "sourceRoute" | "percent" | "bang" | "quotedAt" | undefined {
  if (text.startsWith("@")) return "sourceRoute";
  const at = text.lastIndexOf("@");
  const local = at < 0 ? text : text.slice(0, at);
  if (local.includes("@")) return "quotedAt";
  if (local.includes("%")) return "percent";
  return local.includes("!") ? "bang" : undefined;
}
