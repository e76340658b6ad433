// Whose addresses are whose: what a user may write mail as. Pure.

import type { DirectoryRow } from "../../mail/account.ts";
import { cutTag, directoryName, parseAddress } from "../../mail/address.ts";

/** True for the user's name and aliases, also with a `+tag`. RFC 6409 §6.1 */
export function isOwnAddress(text: string, user: DirectoryRow): boolean {
  const address = parseAddress(text);
  if (address === undefined) return false;
  if (isName(directoryName(address), user)) return true;
  const bare = cutTag(address.local);
  return bare !== address.local && isName(directoryName({ ...address, local: bare }), user);
}

function isName(name: string, user: DirectoryRow): boolean {
  return name === user.name || user.aliases.includes(name);
}
