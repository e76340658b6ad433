// Each failure of the world has one answer, in clean ASCII, with a response code that clients know.

import { describe, expect, test } from "vitest";
import { failureReply } from "../../../src/gateway/imap/reply.ts";
import type { MailErrorCode, MailFailure } from "../../../src/mail/errors.ts";
import { mailboxId, shardId } from "../../../src/mail/ids.ts";

const failures: { readonly [Code in MailErrorCode]: Extract<MailFailure, { code: Code }> } = {
  NO_SUCH_ACCOUNT: { code: "NO_SUCH_ACCOUNT" },
  ACCOUNT_DISABLED: { code: "ACCOUNT_DISABLED" },
  STALE_CREDENTIALS: { code: "STALE_CREDENTIALS" },
  NAME_TAKEN: { code: "NAME_TAKEN", name: "x" },
  NO_SUCH_MAILBOX: { code: "NO_SUCH_MAILBOX", mailbox: "x" },
  MAILBOX_EXISTS: { code: "MAILBOX_EXISTS", mailbox: "x" },
  MAILBOX_HAS_CHILDREN: { code: "MAILBOX_HAS_CHILDREN", mailbox: "x" },
  BAD_MAILBOX_NAME: { code: "BAD_MAILBOX_NAME", mailbox: "x", why: "안\r\n* BYE" },
  MAILBOX_GONE: { code: "MAILBOX_GONE", mailbox: mailboxId(1) },
  OVER_QUOTA: { code: "OVER_QUOTA", limitBytes: 5 },
  LIMIT: { code: "LIMIT", limit: "mailboxes", most: 5 },
  NO_PERMISSION: { code: "NO_PERMISSION", why: "x" },
  IN_USE: { code: "IN_USE" },
  WRONG_NODE: { code: "WRONG_NODE", shard: shardId(1) },
  REPLICA_UNREACHABLE: { code: "REPLICA_UNREACHABLE" },
  UNAVAILABLE: { code: "UNAVAILABLE", why: "x" },
  DISK_FULL: { code: "DISK_FULL" },
  BAD_CHARSET: { code: "BAD_CHARSET", charset: "x" },
  UNKNOWN_ENCODING: { code: "UNKNOWN_ENCODING" },
  DAMAGED: { code: "DAMAGED", what: "x" },
  BUSY: { code: "BUSY", what: "x" },
  CONFLICT: { code: "CONFLICT", why: "x" },
  INVALID: { code: "INVALID", why: "x" },
};

describe("failures", () => {
  test.each(Object.values(failures))("$code", (failure) => {
    const reply = failureReply(failure);
    expect(reply.status).toBe("NO");
    expect(reply.text).toMatch(/^[\x20-\x7e]+$/);
    expect(reply.code).toMatch(/^[A-Z-]+( \([A-Z0-9 -]+\))?$/);
    expect(reply.code).not.toBe("AUTHENTICATIONFAILED");
  });

  test("trouble on our side is never the client's fault", () => {
    for (const code of ["WRONG_NODE", "REPLICA_UNREACHABLE", "UNAVAILABLE", "DISK_FULL"] as const) {
      expect(failureReply(failures[code]).code).toBe("UNAVAILABLE");
    }
  });

  test("COPY, MOVE and APPEND offer to create the mailbox", () => {
    expect(failureReply(failures.NO_SUCH_MAILBOX, "TRYCREATE").code).toBe("TRYCREATE");
    expect(failureReply(failures.NO_SUCH_MAILBOX).code).toBe("NONEXISTENT");
  });

  test.each(["NO_SUCH_ACCOUNT", "ACCOUNT_DISABLED", "STALE_CREDENTIALS", "MAILBOX_GONE"] as const)(
    "%s ends the session",
    (code) => {
      expect(failureReply(failures[code]).bye).toBeDefined();
    },
  );
});
