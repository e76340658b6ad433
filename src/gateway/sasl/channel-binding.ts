// What ties an exchange to the TLS connection that carries it, so that nobody in between can pass it
// on. RFC 5056, RFC 5929, RFC 9266

import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** The binding data of a type, or undefined when this connection has none of it. */
export type ChannelBinding = (type: string) => Buffer | undefined;

export const noBinding: ChannelBinding = () => undefined;

/** @param socket the connection as it is now: the encrypted one after STARTTLS */
export function channelBindingOf(socket: Socket): ChannelBinding {
  if (!(socket instanceof TLSSocket)) return noBinding;
  return (type) => {
    if (type === "tls-exporter") return exported(socket);
    return type === "tls-server-end-point" ? certificateDigest(socket) : undefined;
  };
}

/** RFC 9266 §2: TLS 1.3; older ones only with the extended master secret, which Node.js can't tell. */
function exported(socket: TLSSocket): Buffer | undefined {
  if (socket.getProtocol() !== "TLSv1.3") return undefined;
  return socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0));
}

/** RFC 5929 §4.1: by the digest of the certificate's signature; SHA-256 for weaker ones. */
function certificateDigest(socket: TLSSocket): Buffer | undefined {
  const certificate = socket.getX509Certificate();
  if (certificate === undefined) return undefined;
  return createHash(signatureDigest(certificate.raw)).update(certificate.raw).digest();
}

// DER of the object identifiers of signatures whose digest is not SHA-256.
const strong: readonly (readonly [string, string])[] = [
  ["2a864886f70d01010c", "sha384"], // sha384WithRSAEncryption
  ["2a864886f70d01010d", "sha512"], // sha512WithRSAEncryption
  ["2a8648ce3d040303", "sha384"], // ecdsa-with-SHA384
  ["2a8648ce3d040304", "sha512"], // ecdsa-with-SHA512
];

function signatureDigest(der: Buffer): string {
  // The signature's algorithm stands in the certificate's body, too, within its first bytes.
  const head = der.subarray(0, 80);
  const found = strong.find(([oid]) => head.includes(Buffer.from(oid, "hex")));
  return found?.[1] ?? "sha256";
}
