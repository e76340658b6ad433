// The search family under commands made by its grammar, whole and damaged: every well-formed one is
// answered OK, no answer depends on where the stream was cut, and lists that a client keeps by
// ADDTO and REMOVEFROM are what a new search finds.

import fc from "fast-check";
import { expect, test } from "vitest";
import { badLines } from "../support/imap-lines.ts";
import { runSession } from "../support/imap-session.ts";
import { seedAccount } from "../unit/imap/support.ts";

const start = "x LOGIN u1 secret\r\ny SELECT INBOX\r\n";
const words = (text: string): fc.Arbitrary<string> => fc.constantFrom(...text.split("|"));

const leaf = words(
  "ALL|SEEN|UNSEEN|FLAGGED|UNDELETED|ANSWERED|NEW|OLD|RECENT|1|1:*|2,3:9|*|$|UID 1:2|UID *|UID $|" +
    'SUBJECT two|FROM "ann"|HEADER Message-Id ""|BODY {3+}\r\ncaf|TEXT meeting|SINCE 1-Feb-1994|' +
    "SENTON 18-Jul-1996|SAVEDSINCE 1-Jan-2020|SAVEDATESUPPORTED|LARGER 4294967296|SMALLER 99999999999|" +
    "OLDER 60|YOUNGER 9|KEYWORD $Forwarded|UNKEYWORD x|MODSEQ 2|EMAILID M1|THREADID Tid-1",
);
const { key } = fc.letrec<{ key: string }>((tie) => ({
  key: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    { weight: 6, arbitrary: leaf },
    tie("key").map((inner) => `NOT ${inner}`),
    fc.tuple(tie("key"), tie("key")).map(([a, b]) => `OR ${a} ${b}`),
    fc.array(tie("key"), { minLength: 1, maxLength: 3 }).map((keys) => `(${keys.join(" ")})`),
  ),
}));
const keys = fc.array(key, { minLength: 1, maxLength: 3 }).map((all) => all.join(" "));
const partial = words("PARTIAL 1:2|PARTIAL 9:3|PARTIAL -1:-2|PARTIAL -9:-1");
const returns = fc.oneof(
  fc.constant(""),
  fc
    .tuple(
      fc.subarray(["MIN", "MAX", "COUNT", "UPDATE", "CONTEXT"]),
      fc.option(fc.oneof(fc.constant("ALL"), partial), { nil: "" }),
    )
    .map(([some, last]) => `RETURN (${[...some, last].filter((each) => each !== "").join(" ")}) `),
);
const uid = words("|UID ");
const charset = words("UTF-8|US-ASCII|EUC-KR|ISO-2022-KR");
const criteria = fc
  .array(
    fc.tuple(
      words("|REVERSE "),
      words("ARRIVAL|CC|DATE|FROM|SIZE|SUBJECT|TO|DISPLAYFROM|DISPLAYTO"),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((all) => `(${all.map((pair) => pair.join("")).join(" ")})`);
const source = words(
  "|IN (personal) |IN (inboxes mailboxes Sent) |IN (subtree (INBOX Sent) subtree-one Trash) |" +
    "IN (selected) |IN (selected subscribed) ",
);
const command = fc.oneof(
  fc.tuple(uid, fc.constant("SEARCH "), returns, keys),
  fc.tuple(
    uid,
    fc.constant("SORT "),
    returns,
    criteria,
    fc.constant(" "),
    charset,
    fc.constant(" "),
    keys,
  ),
  fc.tuple(
    uid,
    words("THREAD REFERENCES |THREAD ORDEREDSUBJECT "),
    charset,
    fc.constant(" "),
    keys,
  ),
  fc.tuple(fc.constant("ESEARCH "), source, returns, keys),
  fc.tuple(
    words(
      'UID SEARCH RETURN (SAVE) SEEN|SEARCH RETURN (SAVE PARTIAL 1:1 MIN) ALL|CANCELUPDATE "t1"|NOOP|' +
        "UID FETCH 1:* (UID PREVIEW (LAZY) EMAILID) (PARTIAL -1:-2)|FETCH 1:* (SAVEDATE THREADID PREVIEW)|" +
        "UID STORE 1:2 +FLAGS (\\Seen)|UID STORE 2:3 FLAGS (\\Deleted)|STATUS Sent (MAILBOXID)|" +
        "UID COPY 1:* INBOX|UID EXPUNGE 1:*|APPEND INBOX {5+}\r\n\r\nx\r\n",
    ),
  ),
);
const commands = fc
  .array(command, { maxLength: 8 })
  .map((all) => all.map((parts, at) => `t${at} ${parts.join("")}\r\n`).join(""));

test("every command of the grammar is answered OK", async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (text) => {
      const { output, errors } = await runSession([Buffer.from(start + text)], seedAccount);
      expect(errors).toEqual([]);
      expect(badLines(output)).toEqual([]);
      const tagged = output.match(/^t\d+ .*$/gm) ?? [];
      expect(tagged.filter((line) => !/^t\d+ OK /.test(line))).toEqual([]);
      expect(tagged.length).toBe((text.match(/^t\d+ /gm) ?? []).length);
    }),
    { numRuns: 300 },
  );
}, 60_000);

test("damaged commands: the same answers wherever they are cut, no error of ours", async () => {
  const damage = fc.record({
    at: fc.nat(),
    length: fc.nat(6),
    put: words('|(|)| |\r\n|*|0|-|RETURN|"'),
  });
  await fc.assert(
    fc.asyncProperty(commands, damage, fc.nat(), async (text, { at, length, put }, cut) => {
      const place = at % (text.length + 1);
      const bytes = Buffer.from(start + text.slice(0, place) + put + text.slice(place + length));
      const whole = await runSession([bytes], seedAccount);
      expect(whole.errors).toEqual([]);
      expect(badLines(whole.output)).toEqual([]);
      const split = cut % (bytes.length + 1);
      const parts = [bytes.subarray(0, split), bytes.subarray(split)];
      expect((await runSession(parts, seedAccount)).output).toBe(whole.output);
    }),
    { numRuns: 200 },
  );
}, 60_000);

test("a list kept by updates is what a new search finds", async () => {
  const change = words(
    "UID STORE 1:2 +FLAGS (\\Seen)|UID STORE 2:3 -FLAGS (\\Seen)|UID STORE 1,4 FLAGS.SILENT (\\Flagged)|" +
      "UID STORE 3:5 +FLAGS.SILENT (\\Deleted)|UID STORE 2 FLAGS ()|UID EXPUNGE 1:*|EXPUNGE|" +
      "UID COPY 2:3 INBOX|UID COPY 1 INBOX|UID MOVE 2 Sent|SEARCH ALL|NOOP|" +
      "APPEND INBOX (\\Seen) {14+}\r\nSubject: a\r\n\r\n|APPEND INBOX {14+}\r\nSubject: z\r\n\r\n",
  );
  const searches = [
    ["UID SEARCH", "UNSEEN UNDELETED"],
    ["UID SEARCH", "OR FLAGGED SUBJECT a"],
    ["UID SORT", "(SUBJECT REVERSE SIZE) UTF-8 UNDELETED"],
    ["UID SORT", "(REVERSE FROM) UTF-8 OR SEEN FLAGGED"],
  ] as const;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 10 }), async (changes) => {
      const lines = [
        ...searches.map(([name, program], at) => `u${at} ${name} RETURN (UPDATE ALL) ${program}`),
        ...changes.map((each, at) => `c${at} ${each}`),
        "n1 NOOP",
        ...searches.map(([name, program], at) => `v${at} ${name} RETURN (ALL) ${program}`),
      ];
      const text = `${lines.join("\r\n")}\r\n`;
      const { output } = await runSession([Buffer.from(start + text)], seedAccount);
      const lists = new Map<string, number[]>();
      for (const line of output.split("\r\n")) {
        const found = /^\* ESEARCH \(TAG "(\w+)"\) UID(.*)$/.exec(line);
        if (found !== null)
          lists.set(found[1] ?? "", applied(lists.get(found[1] ?? "") ?? [], found[2] ?? ""));
      }
      for (const at of searches.keys()) expect(lists.get(`u${at}`)).toEqual(lists.get(`v${at}`));
    }),
    { numRuns: 200 },
  );
}, 60_000);

/** A client's list after an ESEARCH response. RFC 5267 §4.3.3, §4.3.4 */
function applied(list: readonly number[], data: string): number[] {
  let now = [...list];
  for (const [, name, value = ""] of data.matchAll(/ (ALL|ADDTO|REMOVEFROM) (\([^)]*\)|\S+)/g)) {
    if (name === "ALL") now = expanded(value);
    const pairs = value.replaceAll(/[()]/g, "").split(" ");
    for (let i = 0; name !== "ALL" && i < pairs.length; i += 2) {
      const position = Number(pairs[i]);
      const uids = expanded(pairs[i + 1] ?? "");
      if (name === "REMOVEFROM") {
        if (position > 0) expect(now.slice(position - 1, position - 1 + uids.length)).toEqual(uids);
        now = now.filter((each) => !uids.includes(each));
      } else if (position === 0) now = [...now, ...uids].sort((a, b) => a - b);
      else now.splice(position - 1, 0, ...uids);
    }
  }
  return now;
}

function expanded(set: string): number[] {
  return set.split(",").flatMap((range) => {
    const [low = 0, high = low] = range.split(":").map(Number);
    return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  });
}
