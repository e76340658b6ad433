// Certificates of members: an authority that is made once and kept, and one leaf a member.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memberId } from "../mail/ids.ts";
import { issueMember, makeAuthority } from "../cluster/link/certificates.ts";
import { CommandFailure, exitStatus, fileFailure } from "./failure.ts";

export interface CertificateOrder {
  readonly cluster: string;
  readonly out: string;
  readonly days: number;
  readonly members: readonly string[];
}

export interface CertificatesMade {
  readonly authorityKey: string;
  readonly written: readonly string[];
}

/** Writes ca.pem, ca.key (if absent) and <member>.pem, <member>.key below `out`. @throws CommandFailure */
export async function makeMemberCertificates(order: CertificateOrder): Promise<CertificatesMade> {
  const { cluster, out, days, members } = order;
  const wrong = members.find((id) => !/^[a-z][a-z0-9-]{0,31}$/.test(id));
  if (wrong !== undefined) {
    throw new CommandFailure(
      `"${wrong}" is no member id: a lower-case letter, then up to 31 letters, digits or hyphens`,
      exitStatus.usage,
    );
  }
  const validity = { nowMs: Date.now(), days };
  const file = (name: string): string => join(out, name);
  const written: string[] = [];
  const write = (name: string, text: string, mode: number): void => {
    writeFileSync(file(name), text, { mode });
    written.push(file(name));
  };
  try {
    mkdirSync(out, { recursive: true });
    if (!existsSync(file("ca.key"))) {
      if (existsSync(file("ca.pem"))) {
        throw new CommandFailure(
          `${file("ca.pem")} is there without its ca.key: put the key beside it, or choose another folder`,
          exitStatus.noInput,
        );
      }
      const made = await makeAuthority(`${cluster} members`, validity);
      write("ca.key", made.key, 0o600);
      write("ca.pem", made.cert, 0o644);
    }
    const authority = {
      cert: readFileSync(file("ca.pem"), "utf8"),
      key: readFileSync(file("ca.key"), "utf8"),
    };
    for (const id of members) {
      const leaf = await issueMember(authority, { cluster, member: memberId(id) }, validity);
      write(`${id}.key`, leaf.key, 0o600);
      write(`${id}.pem`, leaf.cert, 0o644);
    }
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw fileFailure(out, error);
  }
  return { authorityKey: file("ca.key"), written };
}
