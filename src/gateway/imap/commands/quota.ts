// GETQUOTA and GETQUOTAROOT: an account with limits has one quota root, named ""; one without has
// none, since a QUOTA response names at least one resource. RFC 9208 §4.2, §5.1

import { command, loggedIn } from "../command.ts";
import { parseMailbox, writeMailbox } from "../names.ts";
import { no, ok } from "../reply.ts";
import type { Session } from "../session.ts";

const rootName = "";

export const getQuota = command({
  name: "GETQUOTA",
  states: loggedIn,
  parse(cursor) {
    cursor.space();
    const root = cursor.astringText();
    cursor.end();
    return root;
  },
  async run(session, root) {
    const resources = root === rootName ? await readResources(session) : [];
    if (resources.length === 0) return no("There is no such quota root", "NONEXISTENT");
    writeQuota(session, resources);
    return ok("GETQUOTA completed");
  },
});

export const getQuotaRoot = command({
  name: "GETQUOTAROOT",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const mailbox = parseMailbox(cursor, session);
    cursor.end();
    return mailbox;
  },
  async run(session, mailbox) {
    const name = mailbox();
    // RFC 9208 §4.2.2: also for names that are no mailbox yet.
    const resources = await readResources(session);
    session.out.text("* QUOTAROOT ");
    writeMailbox(session, name);
    session.out.text(resources.length === 0 ? "\r\n" : ' ""\r\n');
    if (resources.length > 0) writeQuota(session, resources);
    return ok("GETQUOTAROOT completed");
  },
});

/** `* QUOTA "" (STORAGE 10 512 MESSAGE 3 100)`. */
function writeQuota({ out }: Session, resources: readonly string[]): void {
  out.text(`* QUOTA "" (${resources.join(" ")})\r\n`);
}

/** What has a limit; STORAGE in units of 1024 bytes. RFC 9208 §5.1 */
async function readResources(session: Session): Promise<readonly string[]> {
  const quota = await session.services.store.quota(session.principal, session.signal);
  const resources: string[] = [];
  if (quota.limitBytes > 0) {
    const used = Math.ceil(quota.usedBytes / 1024);
    resources.push(`STORAGE ${used} ${Math.floor(quota.limitBytes / 1024)}`);
  }
  if (quota.limitMessages > 0) {
    resources.push(`MESSAGE ${quota.usedMessages} ${quota.limitMessages}`);
  }
  return resources;
}
