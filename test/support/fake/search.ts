// SEARCH of the fake: each key tried on each message, text decoded anew every time.

import libmime from "libmime";
import iconv from "iconv-lite";
import { unreachable } from "../../../src/lib/assert.ts";
import { uidSetHas } from "../../../src/mail/uid-set.ts";
import type { PartIndex } from "../../../src/mail/message-index.ts";
import type { SearchOutcome, SearchRequest } from "../../../src/mail/search.ts";
import type { SearchKey } from "../../../src/mail/search-key.ts";
import { decodeHeaderValue } from "../../../src/mail/mime/encoded-word.ts";
import { messageIdsIn } from "../../../src/mail/message-ids.ts";
import type { FakeMessage } from "./account.ts";
import { decodedBody, fieldName, headerLines } from "./sections.ts";
import { ancestors, field, sorted, threaded } from "./sort.ts";

const dayMs = 86_400_000;

/** What a SEARCH, SORT or THREAD finds. */
export function searchOutcome(
  messages: readonly FakeMessage[],
  { key, sort, thread, wantModSeq }: SearchRequest,
): SearchOutcome {
  const matched = messages.filter((message) => matches(message, key));
  const found = sort === undefined ? matched : sorted(matched, sort);
  const [first, last] = [found[0], found.at(-1)];
  return {
    uids: Uint32Array.from(found, ({ uid }) => uid),
    ...(thread === undefined ? {} : { threads: threaded(found, thread) }),
    ...(wantModSeq !== true || first === undefined || last === undefined
      ? {}
      : {
          highestModSeqOfResults: Math.max(...found.map((message) => message.modSeq)),
          endModSeqs: [first.modSeq, last.modSeq],
        }),
  };
}

function matches(message: FakeMessage, key: SearchKey): boolean {
  switch (key.kind) {
    case "all":
      return true;
    case "and":
      return key.keys.every((each) => matches(message, each));
    case "or":
      return matches(message, key.a) || matches(message, key.b);
    case "not":
      return !matches(message, key.key);
    case "uid":
      return uidSetHas(key.set, message.uid);
    case "flag": {
      const wanted = key.flag.toLowerCase();
      return message.flags.some((flag) => flag.toLowerCase() === wanted) === key.set;
    }
    case "header":
      return fieldTexts(message, message.index.root, key.name).some((text) =>
        contains(text, key.text),
      );
    case "body":
      return contains(bodyText(message, message.index.root), key.text);
    case "text":
      return contains(
        headerText(message, message.index.root) + bodyText(message, message.index.root),
        key.text,
      );
    case "date":
      return dateMatches(message, key);
    case "size":
      return key.op === "larger"
        ? message.body.length > key.bytes
        : message.body.length < key.bytes;
    case "age": {
      const from = key.nowMs - key.seconds * 1000;
      return key.op === "younger" ? message.internalDateMs >= from : message.internalDateMs <= from;
    }
    case "modseq":
      return message.modSeq >= key.least;
    case "emailId":
      return message.emailId === key.id;
    case "threadId":
      return threadIdOf(message) === key.id;
    default:
      return unreachable(key);
  }
}

/** RFC 8474 §5.2: a name of the oldest message that this one says it belongs to. */
export function threadIdOf(message: FakeMessage): string {
  const root = ancestors(message)[0] ?? messageIdsIn(field(message, "message-id"))[0];
  return `Tid-${Buffer.from(root ?? message.emailId)
    .toString("hex")
    .slice(0, 200)}`;
}

function dateMatches(message: FakeMessage, key: Extract<SearchKey, { kind: "date" }>): boolean {
  const day = dayOf(message, key.of);
  if (key.op === "on") return day === key.day;
  return key.op === "before" ? day < key.day : day >= key.day;
}

/** RFC 9051 §6.4.4: time and zone don't count, the day is the header's own; a message without Date: has its INTERNALDATE. */
function dayOf(message: FakeMessage, of: "internal" | "sent" | "saved"): number {
  if (of === "saved") return Math.floor(message.savedMs / dayMs);
  if (of === "sent" && message.index.sentMs !== undefined) {
    return Math.floor((message.index.sentMs + (message.index.sentZone ?? 0) * 60_000) / dayMs);
  }
  return Math.floor((message.internalDateMs + message.internalDateZone * 60_000) / dayMs);
}

function contains(text: string, part: string): boolean {
  return fold(text).includes(fold(part));
}

function fold(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}

function fieldTexts(message: FakeMessage, part: PartIndex, name: string): readonly string[] {
  const header = message.body.subarray(part.headerStart, part.bodyStart);
  return headerLines(header)
    .filter((line) => fieldName(line) === name.toLowerCase())
    .map((line) => decodeField(line.slice(line.indexOf(":") + 1)));
}

function headerText(message: FakeMessage, part: PartIndex): string {
  const header = message.body.subarray(part.headerStart, part.bodyStart);
  return headerLines(header).map(decodeField).join("\n");
}

function decodeField(latin1: string): string {
  // A charset that libmime doesn't know.
  if (/=\?iso-2022-kr/i.test(latin1)) return decodeHeaderValue(latin1).trim();
  const text = Buffer.from(latin1, "latin1").toString("utf8");
  return libmime.decodeWords(text.replaceAll(/\r?\n([ \t])/g, "$1").trim());
}

function bodyText(message: FakeMessage, part: PartIndex): string {
  if (part.children !== undefined) {
    return part.children.map((child) => bodyText(message, child)).join("\n");
  }
  if (part.message !== undefined) {
    return `${headerText(message, part.message)}\n${bodyText(message, part.message)}`;
  }
  if (!part.type.startsWith("text/")) return "";
  const bytes = Buffer.from(decodedBody(message.body, part));
  const charset = part.charset ?? "utf-8";
  return iconv.encodingExists(charset) ? iconv.decode(bytes, charset) : bytes.toString("utf8");
}
