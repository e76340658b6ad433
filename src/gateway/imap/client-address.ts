// Client addresses for connection limits: one form for each, IPv6 by /64, and what is loopback.

/** Without zone, and IPv4 as such when it comes mapped into IPv6. */
export function plainAddress(address: string): string {
  const [bare = ""] = address.split("%");
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(bare) ? bare.slice(7) : bare;
}

export function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

/** The unit that limits count: an IPv4 address, an IPv6 /64 (one customer has all of it). */
export function addressGroup(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const before = head === "" ? [] : head.split(":");
  const behind = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - before.length - behind.length;
  const groups = [...before, ...new Array<string>(Math.max(zeros, 0)).fill("0"), ...behind];
  return `${groups.slice(0, 4).join(":")}::/64`;
}
