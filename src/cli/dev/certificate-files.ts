// Certificates of a development cluster: one authority for members, one for mail clients. Kept in the
// data folder; made anew when a member's is missing or they come near their end.

import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { issueMember, makeAuthority, makePublicTls } from "../../cluster/link/certificates.ts";
import { memberId } from "../../mail/ids.ts";

const validity = { nowMs: Date.now(), days: 365 };
const renewAfterMs = 300 * 86_400_000;

/** Writes `tls/` below `folder`: ca.pem and public.* for clients, cluster-ca.pem and <member>.* for links. */
export async function writeCertificates(
  folder: string,
  clusterId: string,
  members: readonly string[],
): Promise<void> {
  const file = (name: string): string => join(folder, "tls", name);
  const wanted = [
    "ca.pem",
    "public.pem",
    "public.key",
    "cluster-ca.pem",
    ...members.flatMap((id) => [`${id}.pem`, `${id}.key`]),
  ].map(file);
  if (
    wanted.every((path) => existsSync(path) && Date.now() - statSync(path).mtimeMs < renewAfterMs)
  )
    return;
  mkdirSync(join(folder, "tls"), { recursive: true });
  const authority = await makeAuthority(`${clusterId} members`, validity);
  writeFileSync(file("cluster-ca.pem"), authority.cert);
  for (const id of members) {
    const { cert, key } = await issueMember(
      authority,
      { cluster: clusterId, member: memberId(id) },
      validity,
    );
    writeFileSync(file(`${id}.pem`), cert);
    writeFileSync(file(`${id}.key`), key, { mode: 0o600 });
  }
  const { ca, cert, key } = await makePublicTls([], validity);
  writeFileSync(file("ca.pem"), ca);
  writeFileSync(file("public.pem"), cert);
  writeFileSync(file("public.key"), key, { mode: 0o600 });
}
