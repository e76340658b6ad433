// How links are protected: mutual TLS 1.3 with the member's name in its certificate, or plaintext
// between loopback addresses only. Leaves making certificates to certificates.ts.

import { connect as connectPlain, createServer as createPlainServer } from "node:net";
import type { Server, Socket } from "node:net";
import {
  Server as TlsServer,
  TLSSocket,
  connect as connectTls,
  createServer as createTlsServer,
} from "node:tls";
import type { MemberId } from "../../mail/ids.ts";
import type { MemberAddress } from "./address-book.ts";

/** PEM texts. `ca` is the cluster's own: no other authority is trusted. */
export interface LinkCredentials {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export type LinkSecurity =
  /** Refused at run time unless both ends of a connection are loopback addresses. */
  | { readonly kind: "plaintext" }
  /** Read anew at each dial; a server reads it when it starts to listen and at `reloadCredentials`. */
  | { readonly kind: "tls"; readonly credentials: () => LinkCredentials };

const tlsVersion = "TLSv1.3";

/** Starts a connection; `ready` runs once it is connected and, with TLS, the certificate chain is good. */
export function dial(address: MemberAddress, security: LinkSecurity, ready: () => void): Socket {
  const { host, port } = address;
  if (security.kind === "plaintext") return connectPlain({ host, port }, ready);
  return connectTls(
    {
      host,
      port,
      ...security.credentials(),
      minVersion: tlsVersion,
      maxVersion: tlsVersion,
      // The name that counts is the member id; `strangerReason` checks it against HELLO.
      checkServerIdentity: () => undefined,
    },
    ready,
  );
}

/** A server that hands over connections whose certificate chain is good. */
export function serve(security: LinkSecurity, accept: (socket: Socket) => void): Server {
  if (security.kind === "plaintext") return createPlainServer({ allowHalfOpen: false }, accept);
  return createTlsServer(
    {
      ...security.credentials(),
      minVersion: tlsVersion,
      maxVersion: tlsVersion,
      requestCert: true,
      rejectUnauthorized: true,
    },
    accept,
  );
}

/** New connections see the present credentials; those that are open stay. */
export function renewCredentials(server: Server, security: LinkSecurity): void {
  if (security.kind !== "tls" || !(server instanceof TlsServer)) return;
  server.setSecureContext({
    ...security.credentials(),
    minVersion: tlsVersion,
    maxVersion: tlsVersion,
  });
}

/** Why this connection may not speak for `member`, or undefined. */
export function strangerReason(
  socket: Socket,
  security: LinkSecurity,
  cluster: string,
  member: MemberId,
): string | undefined {
  if (security.kind === "plaintext") return exposedReason(socket);
  if (!(socket instanceof TLSSocket) || !socket.authorized) return "no valid certificate";
  const names = socket.getPeerCertificate().subjectaltname?.split(", ") ?? [];
  if (names.includes(`URI:${memberUri(cluster, member)}`)) return undefined;
  const uris = names.filter((name) => name.startsWith("URI:")).join(" ");
  return `certificate is for "${uris}", not for member "${member}" of cluster "${cluster}"`;
}

/** Why a plaintext connection may not be used, or undefined when both ends are loopback. */
export function exposedReason(socket: Socket): string | undefined {
  const { localAddress, remoteAddress } = socket;
  if (isLoopback(localAddress) && isLoopback(remoteAddress)) return undefined;
  return "plaintext links are for loopback addresses only: configure TLS";
}

/** The name of a member in its certificate. */
export function memberUri(cluster: string, member: MemberId): string {
  return `pabal://${encodeURIComponent(cluster)}/${member}`;
}

export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  return plain === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(plain);
}
