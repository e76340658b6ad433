// SORT and THREAD of the fake: values from the raw header of each message, compared anew every time.
// The order of criteria and the thread algorithms are src/mail's, which have tests of their own.

import { baseSubject } from "../../../src/mail/base-subject.ts";
import { casemapKey } from "../../../src/mail/collation.ts";
import { messageIdsIn } from "../../../src/mail/message-ids.ts";
import { parseAddressList } from "../../../src/mail/mime/address-list.ts";
import { decodeHeaderValue } from "../../../src/mail/mime/encoded-word.ts";
import type { SortCriterion, SortKey } from "../../../src/mail/sort-order.ts";
import { finish } from "../../../src/mail/steps.ts";
import { threadsByReferences } from "../../../src/mail/thread-references.ts";
import { threadsBySubject } from "../../../src/mail/thread-subject.ts";
import type { ThreadAlgorithm, Threads } from "../../../src/mail/thread-tree.ts";
import type { FakeMessage } from "./account.ts";
import { fieldName, headerLines } from "./sections.ts";

export function sorted(
  messages: readonly FakeMessage[],
  criteria: readonly SortCriterion[],
): readonly FakeMessage[] {
  return messages.toSorted((a, b) => {
    for (const { key, reverse } of criteria) {
      const [left, right] = [sortValue(a, key), sortValue(b, key)];
      if (left !== right) return left < right !== reverse ? -1 : 1;
    }
    return a.uid - b.uid;
  });
}

export function threaded(messages: readonly FakeMessage[], algorithm: ThreadAlgorithm): Threads {
  const subjects = messages.map((each) => baseSubject(decodeHeaderValue(field(each, "subject"))));
  const columns = {
    uids: messages.map(({ uid }) => uid),
    sentMs: messages.map(sentMs),
    subjects: subjects.map(({ text }) => casemapKey(text)),
    isReply: subjects.map(({ isReply }) => isReply),
    ids: messages.map((each) => messageIdsIn(field(each, "message-id"))[0] ?? ""),
    references: messages.map(ancestors),
  };
  return finish(
    algorithm === "references" ? threadsByReferences(columns) : threadsBySubject(columns),
  );
}

export function ancestors(message: FakeMessage): readonly string[] {
  const named = messageIdsIn(field(message, "references"));
  return named.length > 0 ? named : messageIdsIn(field(message, "in-reply-to")).slice(0, 1);
}

/** Raw value of the first field of a name; empty when there is none. */
export function field(message: FakeMessage, name: string): string {
  const { headerStart, bodyStart } = message.index.root;
  const lines = headerLines(message.body.subarray(headerStart, bodyStart));
  const line = lines.find((each) => fieldName(each) === name);
  return line === undefined ? "" : line.slice(line.indexOf(":") + 1).trim();
}

function sentMs(message: FakeMessage): number {
  return message.index.sentMs ?? Math.floor(message.internalDateMs / 1000) * 1000;
}

function sortValue(message: FakeMessage, key: SortKey): string | number {
  switch (key) {
    case "arrival":
      return Math.floor(message.internalDateMs / 1000);
    case "size":
      return message.body.length;
    case "date":
      return sentMs(message);
    case "subject":
      return casemapKey(baseSubject(decodeHeaderValue(field(message, "subject"))).text);
    case "from":
    case "to":
    case "cc":
      return casemapKey(address(message, key).mailbox);
    case "displayFrom":
      return casemapKey(address(message, "from").display);
    case "displayTo":
      return casemapKey(address(message, "to").display);
  }
}

function address(message: FakeMessage, name: string): { mailbox: string; display: string } {
  const [first] = parseAddressList(field(message, name), 10);
  if (first === undefined || first.kind === "groupEnd") return { mailbox: "", display: "" };
  if (first.kind === "groupStart") return { mailbox: first.name, display: first.name };
  const shown = decodeHeaderValue(first.name ?? "");
  return {
    mailbox: first.local,
    display: shown === "" ? `${first.local}@${first.host ?? ""}` : shown,
  };
}
