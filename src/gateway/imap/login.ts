// What LOGIN and AUTHENTICATE share: the verdict on a password, and the session of a user.
// RFC 9051 §6.2.2, §6.2.3

import type { AuthVerdict } from "../../cluster/directory/directory.ts";
import { unreachable } from "../../lib/assert.ts";
import { capabilities } from "./capabilities.ts";
import { no, ok } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { Session } from "./session.ts";

/** Logs the user in, if the verdict is good. `what` is the command, for the reply. */
export function logIn(session: Session, login: string, verdict: AuthVerdict, what: string): Reply {
  const { services, host } = session;
  switch (verdict.kind) {
    case "ok":
      break;
    case "refused":
      services.log.info({ login, address: host.address, protocol: "imap" }, "login refused");
      return refused(session);
    case "disabled":
      return no("The account is disabled", "CONTACTADMIN");
    case "unavailable":
      return no("The password can't be checked now, try again", "UNAVAILABLE");
    default:
      return unreachable(verdict);
  }
  const { row } = verdict;
  if (!host.claimUser(row.account)) {
    const most = session.limits.connectionsPerUserMax;
    return no(`Too many connections of this user, at most ${most}`, "LIMIT");
  }
  session.user = {
    principal: { account: row.account, shard: row.shard, credVersion: row.credVersion },
    name: row.name,
  };
  session.loginFailures = 0;
  services.log.info({ user: row.name, address: host.address, tls: host.secure() }, "imap login");
  // RFC 9051 §6.2.3: the list changes with login, so it is sent along.
  return ok(`${what} completed`, `CAPABILITY ${capabilities(session)}`);
}

function refused(session: Session): Reply {
  const reply = no("User name or password is wrong", "AUTHENTICATIONFAILED");
  if (++session.loginFailures < session.limits.loginFailuresMax) return reply;
  return { ...reply, bye: "Too many failed logins" };
}
