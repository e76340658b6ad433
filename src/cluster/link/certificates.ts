// Makes certificates: the cluster's own authority, one leaf a member (its id in the name), and a public
// leaf for `pabal dev`. Loads a large library: import it only where certificates are made. Using them
// is link-security.ts. Keys are ECDSA P-256, in PEM.

import "reflect-metadata";
import { KeyObject, createPrivateKey, randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  cryptoProvider,
} from "@peculiar/x509";
import type { Extension, JsonGeneralNames } from "@peculiar/x509";
import type { MemberId } from "../../mail/ids.ts";
import { memberUri } from "./link-security.ts";
import type { LinkCredentials } from "./link-security.ts";

export interface KeyAndCertificate {
  readonly cert: string;
  /** PKCS #8. Write it with mode 0600. */
  readonly key: string;
}

/** How long certificates are valid; from an hour ago, as clocks differ. */
export interface Validity {
  readonly nowMs: number;
  readonly days: number;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const loopbackNames = ["localhost", "127.0.0.1", "::1"];

/** A new authority that may sign leaves only. */
export async function makeAuthority(name: string, validity: Validity): Promise<KeyAndCertificate> {
  cryptoProvider.set(webcrypto);
  const keys = await makeKeys();
  const certificate = await X509CertificateGenerator.create({
    ...base(name, validity),
    issuer: commonName(name),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: `${certificate.toString("pem")}\n`, key: pem(keys.privateKey) };
}

/** The certificate with which `member` speaks and answers on links: both TLS client and server. */
export async function issueMember(
  authority: KeyAndCertificate,
  who: { readonly cluster: string; readonly member: MemberId },
  validity: Validity,
): Promise<LinkCredentials> {
  const uri = { type: "url", value: memberUri(who.cluster, who.member) } as const;
  const leaf = await issue(authority, who.member, validity, [
    new SubjectAlternativeNameExtension([uri, ...generalNames(loopbackNames)]),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth]),
  ]);
  return { ca: authority.cert, ...leaf };
}

/** A certificate for mail clients and browsers. `names`: host names and IP addresses, the first is shown. */
export function issueServer(
  authority: KeyAndCertificate,
  names: readonly string[],
  validity: Validity,
): Promise<KeyAndCertificate> {
  return issue(authority, names[0] ?? "localhost", validity, [
    new SubjectAlternativeNameExtension(generalNames(names)),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
  ]);
}

/** For `pabal dev`: an authority to trust, and a leaf of it for this machine and `names`. */
export async function makePublicTls(
  names: readonly string[],
  validity: Validity,
): Promise<{ readonly ca: string } & KeyAndCertificate> {
  const authority = await makeAuthority("Pabal development", validity);
  const all = [...new Set([...loopbackNames, ...names])];
  return { ca: authority.cert, ...(await issueServer(authority, all, validity)) };
}

async function issue(
  authority: KeyAndCertificate,
  name: string,
  validity: Validity,
  extensions: readonly Extension[],
): Promise<KeyAndCertificate> {
  cryptoProvider.set(webcrypto);
  const issuer = new X509Certificate(authority.cert);
  const der = createPrivateKey(authority.key).export({ type: "pkcs8", format: "der" });
  const signingKey = await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
  const keys = await makeKeys();
  const certificate = await X509CertificateGenerator.create({
    ...base(name, validity),
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ...extensions,
    ],
  });
  return { cert: `${certificate.toString("pem")}\n`, key: pem(keys.privateKey) };
}

interface Base {
  readonly serialNumber: string;
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly signingAlgorithm: typeof algorithm;
}

function base(name: string, { nowMs, days }: Validity): Base {
  const serial = randomBytes(16);
  // RFC 5280 §4.1.2.2: positive, and no leading zero byte.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return {
    serialNumber: serial.toString("hex"),
    subject: commonName(name),
    notBefore: new Date(nowMs - hourMs),
    notAfter: new Date(nowMs + days * dayMs),
    signingAlgorithm: algorithm,
  };
}

/** RFC 4514 §2.4: every character that means something in a name is escaped. */
function commonName(name: string): string {
  return `CN=${name.replaceAll(/[\\,+"<>;=#\s]/g, (character) => `\\${character}`)}`;
}

function generalNames(names: readonly string[]): JsonGeneralNames {
  return names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }));
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

function pem(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: "pkcs8", format: "pem" }).toString();
}
