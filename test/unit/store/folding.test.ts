// Changes above a mailbox's packed blocks are folded in before reading them takes long, however few
// changes they are.

import { expect, test } from "vitest";
import { mailboxId } from "../../../src/mail/ids.ts";
import { fold, loadSummary, putMessage, setFlagGroups } from "../../../src/store/blocks.ts";
import { Columns } from "../../../src/store/columns.ts";
import { KeywordSets } from "../../../src/store/flags.ts";
import { MailboxSummary } from "../../../src/store/mailbox-state.ts";
import { addAccount, makeStore } from "./harness.ts";

function summaryOf(messages: number): MailboxSummary {
  const summary = new MailboxSummary(new Columns(), new KeywordSets(), 0, [], 0);
  for (let uid = 1; uid <= messages; uid++) {
    const times = { date: uid, zone: 0, saved: uid };
    putMessage(summary, { uid, modSeq: 1, flags: 0, size: 9, ...times, bodyTag: 1, bodyLsn: uid });
  }
  return summary;
}

test("many messages that came by few changes are long to read, and not once they are folded", async () => {
  const harness = makeStore();
  const { account } = await addAccount(harness);
  const summary = summaryOf(20_000);
  expect(summaryOf(2000).isLongReplay).toBe(false);
  expect(summary.isLongReplay).toBe(true);
  fold(harness.engine.rows, account, mailboxId(9), summary, 1);
  expect(summary.isLongReplay).toBe(false);
  const again = await loadSummary(harness.engine.rows, account, mailboxId(9));
  expect([...again.columns.uids()]).toEqual([...summary.columns.uids()]);
  expect(again.replayCost).toBe(0);
});

test("flags of all messages, set again and again, are folded now and then", async () => {
  const harness = makeStore();
  const { account } = await addAccount(harness);
  const summary = summaryOf(30_000);
  fold(harness.engine.rows, account, mailboxId(9), summary, 1);
  let folded = 0;
  for (let round = 2; round < 40; round++) {
    setFlagGroups(summary, [{ flags: round % 2, uids: [1, 30_000] }], round);
    if (!summary.isLongReplay) continue;
    fold(harness.engine.rows, account, mailboxId(9), summary, round);
    folded = round;
  }
  expect(folded).toBeGreaterThan(5);
  expect(folded).toBeLessThan(40);
  const again = await loadSummary(harness.engine.rows, account, mailboxId(9));
  expect(again.columns.flags[29_999]).toBe(folded % 2);
});
