// Annotations of the fake mail store: maps, and the limits that clients may see. RFC 5464

import { MailError } from "../../../src/mail/errors.ts";
import type { AnnotateRequest, MailboxAnnotations } from "../../../src/mail/mail-store.ts";
import { tell } from "./account.ts";
import type { FakeAccount } from "./account.ts";
import { mailboxNamed } from "./mailbox-tree.ts";

const bytesMax = 32 * 1024;
const countMax = 256;
const accountBytesMax = 1024 * 1024;

type Values = Map<string, Uint8Array>;

export function annotationsOf(
  account: FakeAccount,
  asked: string | undefined,
): readonly MailboxAnnotations[] {
  if (asked !== undefined) return [{ mailbox: asked, annotations: list(valuesOf(account, asked)) }];
  return [
    { mailbox: "", annotations: list(account.annotations) },
    ...Array.from(account.mailboxes.values(), ({ name, annotations }) => ({
      mailbox: name,
      annotations: list(annotations),
    })),
  ]
    .filter(({ annotations }) => annotations.length > 0)
    .toSorted((a, b) => (a.mailbox < b.mailbox ? -1 : 1));
}

export function annotate(account: FakeAccount, { mailbox, entries }: AnnotateRequest): void {
  const values = valuesOf(account, mailbox);
  const after = new Map(values);
  for (const { entry, value } of entries) {
    if (value === undefined) after.delete(entry);
    else if (value.length > bytesMax) throw limit("annotationBytesMax", bytesMax);
    else after.set(entry, Uint8Array.from(value));
  }
  if (entries.some(({ value }) => value !== undefined)) {
    if (after.size > countMax) throw limit("annotationsMax", countMax);
    const others = [
      account.annotations,
      ...Array.from(account.mailboxes.values(), ({ annotations }) => annotations),
    ].filter((each) => each !== values);
    const total = [after, ...others].reduce((sum, each) => sum + bytesOf(each), 0);
    if (total > accountBytesMax) throw limit("accountAnnotationBytesMax", accountBytesMax);
  }
  values.clear();
  for (const [entry, value] of after) values.set(entry, value);
  tell(account, { kind: "list" });
}

function valuesOf(account: FakeAccount, mailbox: string): Values {
  return mailbox === "" ? account.annotations : mailboxNamed(account, mailbox).annotations;
}

function list(values: Values): MailboxAnnotations["annotations"] {
  return Array.from(values, ([entry, value]) => ({ entry, value })).toSorted((a, b) =>
    a.entry < b.entry ? -1 : 1,
  );
}

function bytesOf(values: Values): number {
  let bytes = 0;
  for (const [entry, value] of values) bytes += entry.length + value.length;
  return bytes;
}

function limit(name: string, most: number): MailError {
  return new MailError({ code: "LIMIT", limit: name, most });
}
