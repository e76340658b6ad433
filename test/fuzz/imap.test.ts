// IMAP under any bytes in any chunks: nothing may crash, hang, be logged as our error, or depend on
// where the stream was cut; every line that is no literal begins as a response does.

import fc from "fast-check";
import { expect, test } from "vitest";
import { badLines } from "../support/imap-lines.ts";
import { runSession } from "../support/imap-session.ts";
import { seedAccount } from "../unit/imap/support.ts";

const login = "x LOGIN u1 secret\r\n";
const select = "y SELECT INBOX\r\n";

const words = fc.constantFrom(
  ...(
    "LOGIN AUTHENTICATE PLAIN CAPABILITY NOOP LOGOUT STARTTLS ID ENABLE SELECT EXAMINE CREATE DELETE " +
    "RENAME SUBSCRIBE LIST LSUB STATUS NAMESPACE APPEND GETQUOTA GETQUOTAROOT IDLE DONE CHECK CLOSE " +
    "UNSELECT EXPUNGE SEARCH FETCH STORE COPY MOVE UID QRESYNC CONDSTORE IMAP4rev2 UTF8=ACCEPT INBOX " +
    "Sent u1 secret a1 * % 1 2:* $ 1:3,2 4294967295 0 -1 () ( ) (FLAGS UID) FLAGS BODY[] BODY.PEEK[1] " +
    "BODY[HEADER.FIELDS (X)]<0.5> BODYSTRUCTURE RFC822.SIZE +FLAGS -FLAGS.SILENT (\\Seen) \\Deleted " +
    "(UNCHANGEDSINCE 1) (CHANGEDSINCE 1) RETURN (MIN MAX COUNT SAVE) NOT OR ALL SUBJECT CHARSET UTF-8 " +
    'EUC-KR "q\\"x" "" NIL {0} {3} {3+} {3+}\r\nabc {1}\r\nx {5000+} {99999999999} ~{2+}\r\nab & &xUg- ' +
    "UNAUTHENTICATE COMPRESS DEFLATE REPLACE GETMETADATA SETMETADATA MYRIGHTS GETACL SETACL DELETEACL " +
    "LISTRIGHTS NOTIFY SET NONE STATUS (SELECTED (SELECTED-DELAYED (PERSONAL (MAILBOXES (MessageNew " +
    "MessageExpunge) FlagChange) (MessageNew MessageExpunge MailboxName)) (UID FLAGS) UIDONLY ENABLE " +
    '/private/comment /shared/x (/private/comment "x") NIL) (DEPTH infinity) (MAXSIZE 5) +lrs lrswipkxtea ' +
    'RETURN (MYRIGHTS METADATA (/private/comment)) CATENATE (URL "/INBOX/;UID=1" /INBOX/;UID=1/;section=1 ' +
    "URL TEXT {3+}\r\nabc) (SUBTREE NONE) " +
    '__proto__ "17-Jul-1996 02:44:25 -0700" 1-Jan-2020 SINCE (MESSAGES UNSEEN) "*" "%" (QRESYNC (1 1)) ' +
    "SORT THREAD ESEARCH CANCELUPDATE (SUBJECT) (REVERSE DATE) REFERENCES ORDEREDSUBJECT IN (personal) " +
    "RETURN (UPDATE) RETURN (PARTIAL 1:2) (PARTIAL -1:-2) PREVIEW (LAZY) SAVEDATE EMAILID THREADID MAILBOXID"
  ).split(" "),
);
const separators = fc.constantFrom(" ", " ", " ", "\r\n", "\r\nt ", "\r\nt UID ", "\n", "  ", "\r");
const likely = fc
  .array(fc.tuple(words, separators), { maxLength: 30 })
  .map((pairs) => Buffer.from(pairs.flat().join("")));
const random = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const long = fc
  .tuple(fc.constantFrom("(", "x", "NOT ", "1,", "{1+}\r\nx ", '"'), fc.nat(9000))
  .map(([unit, count]) => Buffer.from(`t SEARCH ${unit.repeat(count)}`));
const input = fc
  .tuple(
    fc.constantFrom(
      "",
      login,
      login + select,
      `${login}z ENABLE QRESYNC IMAP4rev2\r\n${select}`,
      `${login}z ENABLE UIDONLY\r\n${select}`,
      `${login}${select}n NOTIFY SET (SELECTED (MessageNew (FLAGS) MessageExpunge FlagChange)) ` +
        "(PERSONAL (MessageNew MessageExpunge MailboxName MailboxMetadataChange))\r\n",
    ),
    fc.array(fc.oneof({ weight: 8, arbitrary: likely }, { weight: 2, arbitrary: random }, long), {
      maxLength: 3,
    }),
  )
  .map(([start, parts]) => Buffer.concat([Buffer.from(start), ...parts]));

test("any bytes, cut anywhere: the same answers, no error of ours, no hang", async () => {
  let slowestMs = 0;
  await fc.assert(
    fc.asyncProperty(input, fc.array(fc.nat(10_000), { maxLength: 12 }), async (bytes, cuts) => {
      const started = performance.now();
      const whole = await runSession([bytes], seedAccount);
      slowestMs = Math.max(slowestMs, performance.now() - started);
      expect(whole.errors).toEqual([]);
      expect(badLines(whole.output)).toEqual([]);
      expect((await runSession(split(bytes, cuts), seedAccount)).output).toBe(whole.output);
    }),
    { numRuns: 1500 },
  );
  expect(slowestMs).toBeLessThan(1000);
}, 60_000);

test("one byte at a time gives the same answers", async () => {
  await fc.assert(
    fc.asyncProperty(likely, async (bytes) => {
      const whole = Buffer.concat([Buffer.from(login + select), bytes]);
      const single = await runSession(
        [...whole].map((byte) => Uint8Array.of(byte)),
        seedAccount,
      );
      expect(single.output).toBe((await runSession([whole], seedAccount)).output);
    }),
    { numRuns: 200 },
  );
}, 60_000);

function split(bytes: Buffer, cuts: readonly number[]): readonly Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...places, bytes.length].map((to, at) =>
    bytes.subarray(at === 0 ? 0 : places[at - 1], to),
  );
}
