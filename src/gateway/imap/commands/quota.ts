// GETQUOTA and GETQUOTAROOT: each account has one quota root, named "". RFC 9208 §4.2

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
    if (root !== rootName) return no("There is no such quota root", "NONEXISTENT");
    await writeQuota(session);
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
    session.out.text("* QUOTAROOT ");
    writeMailbox(session, name);
    session.out.text(' ""\r\n');
    await writeQuota(session);
    return ok("GETQUOTAROOT completed");
  },
});

/** `* QUOTA "" (STORAGE 10 512 MESSAGE 3 100)`: STORAGE in units of 1024 bytes, limits only. */
async function writeQuota(session: Session): Promise<void> {
  const quota = await session.services.store.quota(session.principal, session.signal);
  const resources: string[] = [];
  if (quota.limitBytes > 0) {
    const used = Math.ceil(quota.usedBytes / 1024);
    resources.push(`STORAGE ${used} ${Math.floor(quota.limitBytes / 1024)}`);
  }
  if (quota.limitMessages > 0) {
    resources.push(`MESSAGE ${quota.usedMessages} ${quota.limitMessages}`);
  }
  session.out.text(`* QUOTA "" (${resources.join(" ")})\r\n`);
}
