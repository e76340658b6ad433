// Which names an account may have: addresses in our domains, in the directory's form; `@domain` as an
// alias is the domain's catch-all. Leaves who has a name already to the claims.

import { cutTag, directoryName, normaliseDomain, parseAddress } from "../../mail/address.ts";
import { MailError } from "../../mail/errors.ts";

export const aliasesMax = 100;

/** @throws MailError INVALID with what is wrong, for the operator */
export function accountName(text: string, domains: readonly string[]): string {
  const address = parseAddress(text);
  if (address === undefined) {
    throw invalid(`${shown(text)} is no address: it wants the form local@domain`);
  }
  if (!domains.includes(address.domain)) throw invalid(foreign(address.domain, domains));
  if (cutTag(address.local) !== address.local) {
    throw invalid(`${shown(text)} has a tag (behind +): mail for it goes to the name before it`);
  }
  return directoryName(address);
}

/** As `accountName`, and `@domain`. */
export function aliasName(text: string, domains: readonly string[]): string {
  if (!text.startsWith("@")) return accountName(text, domains);
  const domain = normaliseDomain(text.slice(1));
  if (domain === undefined) throw invalid(`${shown(text)} is no catch-all: it wants @domain`);
  if (!domains.includes(domain)) throw invalid(foreign(domain, domains));
  return `@${domain}`;
}

/** In order, each once. @throws MailError INVALID, LIMIT */
export function aliasNames(
  texts: readonly string[],
  name: string,
  domains: readonly string[],
): readonly string[] {
  const names = new Set(texts.map((text) => aliasName(text, domains)));
  names.delete(name);
  if (names.size > aliasesMax) {
    throw new MailError({ code: "LIMIT", limit: "aliases of an account", most: aliasesMax });
  }
  return [...names];
}

function foreign(domain: string, domains: readonly string[]): string {
  const ours = domains.length === 0 ? "none is configured" : domains.slice(0, 5).join(", ");
  return `${domain} is not one of our domains (${ours})`;
}

function invalid(why: string): MailError {
  return new MailError({ code: "INVALID", why });
}

/** Fit for a message: short and without control characters. */
function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
