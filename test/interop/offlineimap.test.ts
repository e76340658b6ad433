// OfflineIMAP: a mailbox is synchronised to a Maildir and back, flags and deletions both ways.

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { awkward, message, mustRun, Scratch } from "./support.ts";

let cluster: DevCluster;
let scratch: Scratch;

beforeAll(async () => {
  scratch = new Scratch();
  cluster = await DevCluster.start({ users: 1 });
});
afterAll(async () => {
  await cluster.destroy();
  scratch.remove();
});

test("mail, flags, folders and deletions go both ways", async () => {
  const maildir = join(scratch.folder, "mail");
  mkdirSync(maildir);
  const configuration = scratch.write(
    "offlineimaprc",
    Buffer.from(
      [
        "[general]",
        "accounts = pabal",
        "ui = basic",
        `metadata = ${join(scratch.folder, "state")}`,
        "[Account pabal]",
        "localrepository = local",
        "remoterepository = remote",
        "[Repository local]",
        "type = Maildir",
        `localfolders = ${maildir}`,
        "[Repository remote]",
        "type = IMAP",
        "remotehost = localhost",
        `remoteport = ${cluster.gateway("g1").imaps}`,
        "ssl = yes",
        `sslcacertfile = ${cluster.ports.tls.ca}`,
        "remoteuser = u1@pabal.test",
        "remotepass = secret",
        "",
      ].join("\n"),
    ),
  );
  const sync = () => mustRun("offlineimap", ["-c", configuration, "-o"], { withinMs: 60_000 });
  const files = (folder: string): readonly string[] =>
    ["cur", "new"].flatMap((part) =>
      readdirSync(join(maildir, folder, part)).map((name) => join(maildir, folder, part, name)),
    );

  const client = await ImapClient.connect(cluster.gateway("g2").imap, {
    user: "u1",
    password: "secret",
  });
  for (const bytes of [awkward, message("second", ["x"])]) {
    await client.ok("APPEND INBOX ", bytes);
  }
  await client.ok("CREATE &vBvHQA-/Family");
  await client.ok("SELECT INBOX");
  await client.ok("STORE 1 +FLAGS (\\Flagged)");
  await sync();
  expect(files("INBOX")).toHaveLength(2);
  expect(files("INBOX").filter((name) => /:2,\w*F\w*$/.test(name))).toHaveLength(1);
  expect(files("INBOX").some((name) => readFileSync(name).includes("Subject: second"))).toBe(true);

  // Here: read one, delete the other, write a third.
  const isFlagged = (name: string): boolean => /:2,\w*F\w*$/.test(name);
  const flagged = files("INBOX").find(isFlagged) ?? "";
  const other = files("INBOX").find((name) => !isFlagged(name)) ?? "";
  renameSync(flagged, join(maildir, "INBOX/cur", `${flagged.split("/").at(-1)}S`));
  rmSync(other);
  writeFileSync(join(maildir, "INBOX/cur/1790000000.1.here:2,"), message("third", ["x"]));
  await sync();
  await client.ok("NOOP");
  const { untagged } = await client.ok("FETCH 1:* (FLAGS BODY[HEADER.FIELDS (SUBJECT)])");
  const shown = untagged.map(({ text, literals }) => `${text} ${literals.join(" ")}`);
  expect(shown.some((line) => /\\Flagged/.test(line) && /\\Seen/.test(line))).toBe(true);
  expect(shown.some((line) => line.includes("third"))).toBe(true);
  expect(shown.some((line) => line.includes("second"))).toBe(false);
  await client.ok("LOGOUT");
}, 150_000);
