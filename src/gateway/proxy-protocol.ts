// The PROXY protocol of HAProxy, versions 1 and 2: how a load balancer in front says who the client
// is. A pure parser of the header, networks whose word is taken, and a reader for fresh sockets of any
// protocol. Who must send a header, and what happens without one, is the listener's business.

import { BlockList, isIP, isIPv4, isIPv6, SocketAddress } from "node:net";
import type { Socket } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { MailError } from "../mail/errors.ts";

/** `local`: the proxy speaks for itself (health checks), or does not say for whom. */
export type ProxyHeader =
  | { readonly kind: "local" }
  | { readonly kind: "proxied"; readonly address: string; readonly port: number };

export type ProxyParse =
  /** The header is not complete; parse again with more bytes. */
  | { readonly state: "more" }
  /** These bytes do not start a header. */
  | { readonly state: "none" }
  | { readonly state: "bad"; readonly why: string }
  /** `bytes` of the input were the header; the protocol itself begins behind them. */
  | { readonly state: "header"; readonly header: ProxyHeader; readonly bytes: number };

const signature2 = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const signature1 = Buffer.from("PROXY ", "latin1");
const line1BytesMax = 107;
/** Type-length-values behind the addresses are skipped; more than this is not waited for. */
const body2BytesMax = 4096;

/** Parses the header at the start of a connection's bytes, as far as they have come. Pure. */
export function parseProxyHeader(input: Buffer): ProxyParse {
  if (startsAs(input, signature2)) return parseVersion2(input);
  if (startsAs(input, signature1)) return parseVersion1(input);
  return { state: input.length === 0 ? "more" : "none" };
}

/** True while `input` agrees with `signature` as far as both go. */
function startsAs(input: Buffer, signature: Buffer): boolean {
  const length = Math.min(input.length, signature.length);
  return length > 0 && input.compare(signature, 0, length, 0, length) === 0;
}

function parseVersion1(input: Buffer): ProxyParse {
  const end = input.subarray(0, line1BytesMax).indexOf("\r\n");
  if (end === -1) return input.length < line1BytesMax ? { state: "more" } : bad("line too long");
  const [, family, source = "", target = "", sourcePort = "", targetPort = "", ...more] = input
    .toString("latin1", 0, end)
    .split(" ");
  const bytes = end + 2;
  if (family === "UNKNOWN") return { state: "header", header: { kind: "local" }, bytes };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : undefined;
  if (isAddress === undefined) return bad("unknown family");
  if (!isAddress(source) || !isAddress(target) || more.length > 0) return bad("bad address");
  if (!isPort(sourcePort) || !isPort(targetPort)) return bad("bad port");
  const address = plainAddress(source);
  return {
    state: "header",
    header: { kind: "proxied", address, port: Number(sourcePort) },
    bytes,
  };
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535;
}

function parseVersion2(input: Buffer): ProxyParse {
  if (input.length < 16) return { state: "more" };
  const command = input.readUInt8(12);
  const family = input.readUInt8(13);
  const length = input.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) return bad("unknown version or command");
  if (length > body2BytesMax) return bad("header too long");
  const bytes = 16 + length;
  if (input.length < bytes) return { state: "more" };
  const local: ProxyParse = { state: "header", header: { kind: "local" }, bytes };
  if (command === 0x20) return local;
  switch (family) {
    case 0x11: {
      if (length < 12) return bad("addresses are missing");
      const address = [...input.subarray(16, 20)].join(".");
      const port = input.readUInt16BE(24);
      return { state: "header", header: { kind: "proxied", address, port }, bytes };
    }
    case 0x21: {
      if (length < 36) return bad("addresses are missing");
      const address = plainAddress(ipv6Text(input.subarray(16, 32)));
      const port = input.readUInt16BE(48);
      return { state: "header", header: { kind: "proxied", address, port }, bytes };
    }
    default:
      // UNSPEC, datagrams and Unix sockets name no client that we could count or log.
      return local;
  }
}

function bad(why: string): ProxyParse {
  return { state: "bad", why };
}

function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return groups.join(":");
}

/** One text for each address: IPv6 in its canonical form, IPv4 as such also when mapped into IPv6. */
export function plainAddress(address: string): string {
  const [bare = ""] = address.split("%");
  if (!isIPv6(bare)) return bare;
  const text = new SocketAddress({ address: bare, family: "ipv6" }).address;
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(text) ? text.slice(7) : text;
}

/** True for what `TrustedNetworks` takes. */
export function isNetwork(network: string): boolean {
  const [address = "", bits, ...more] = network.split("/");
  const family = isIP(address);
  const widest = family === 4 ? 32 : 128;
  const known = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= widest);
  return family !== 0 && known && more.length === 0;
}

/** Networks (`10.0.0.0/8`, `2001:db8::/32`) and single addresses whose word about clients is taken. */
export class TrustedNetworks {
  readonly #list = new BlockList();
  readonly #empty: boolean;

  /** @throws {MailError} `INVALID` for what is neither an address nor a network. */
  constructor(networks: readonly string[]) {
    this.#empty = networks.length === 0;
    for (const network of networks) this.#add(network);
  }

  has(address: string | undefined): boolean {
    if (this.#empty || address === undefined) return false;
    const plain = plainAddress(address);
    const family = isIP(plain);
    return family !== 0 && this.#list.check(plain, family === 4 ? "ipv4" : "ipv6");
  }

  #add(network: string): void {
    if (!isNetwork(network)) {
      throw new MailError({ code: "INVALID", why: `${network} is not an address or network` });
    }
    const [address = "", bits] = network.split("/");
    const widest = isIPv4(address) ? 32 : 128;
    const type = isIPv4(address) ? "ipv4" : "ipv6";
    this.#list.addSubnet(address, bits === undefined ? widest : Number(bits), type);
  }
}

export interface ProxyReadOptions {
  readonly clock: Clock;
  /** How long the header may take. */
  readonly waitMs: number;
}

/** `none`: the socket is as it was, its bytes unread. `failed`: close it. */
export type ProxyRead =
  | { readonly kind: "header"; readonly header: ProxyHeader }
  | { readonly kind: "none" }
  | { readonly kind: "failed"; readonly why: string };

/**
 * Reads the header from a socket nobody has read from. Bytes behind it are put back, so that TLS or
 * the protocol finds them. Calls `done` once; `none` also when nothing came within `waitMs`.
 */
export function readProxyHeader(
  socket: Socket,
  options: ProxyReadOptions,
  done: (read: ProxyRead) => void,
): void {
  let held: Buffer = Buffer.alloc(0);
  const finish = (read: ProxyRead): void => {
    timer.cancel();
    socket.off("readable", onReadable).off("end", onEnd).off("close", onEnd).off("error", onError);
    // The next owner has its own error listener; in between a reset must not end the process.
    if (read.kind === "failed") socket.on("error", () => undefined);
    done(read);
  };
  const onReadable = (): void => {
    for (let chunk = read(socket); chunk !== undefined; chunk = read(socket)) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const parsed = parseProxyHeader(held);
      if (parsed.state === "more") continue;
      if (parsed.state === "bad") return finish({ kind: "failed", why: parsed.why });
      const rest = held.subarray(parsed.state === "header" ? parsed.bytes : 0);
      if (rest.length > 0) socket.unshift(rest);
      return finish(
        parsed.state === "header" ? { kind: "header", header: parsed.header } : { kind: "none" },
      );
    }
  };
  const onEnd = (): void =>
    finish({ kind: "failed", why: "closed before the header was complete" });
  const onError = (error: Error): void => finish({ kind: "failed", why: error.message });
  const timer = options.clock.after(options.waitMs, () =>
    finish(
      held.length === 0 ? { kind: "none" } : { kind: "failed", why: "header was not completed" },
    ),
  );
  socket.on("readable", onReadable).on("end", onEnd).on("close", onEnd).on("error", onError);
}

function read(socket: Socket): Buffer | undefined {
  const chunk: unknown = socket.read();
  return Buffer.isBuffer(chunk) ? chunk : undefined;
}
