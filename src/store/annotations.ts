// Annotations of mailboxes and of the account (RFC 5464): small values under names, read from disk
// when asked for. Which names there may be is the front-end's business.

import { MailError } from "../mail/errors.ts";
import { mailboxId } from "../mail/ids.ts";
import type { MailboxId } from "../mail/ids.ts";
import type {
  AnnotateRequest,
  Annotation,
  MailboxAnnotations,
  Principal,
} from "../mail/mail-store.ts";
import type { AccountState } from "./account-state.ts";
import type { Engine } from "./engine.ts";
import type { Op } from "./entry-kind.ts";
import { accountKey, afterPrefix, mailboxKey, table } from "./keyspace.ts";
import type { StoreLimits } from "./limits.ts";
import { mailboxNamed } from "./list.ts";
import { mending } from "./mending.ts";
import { changeExclusively } from "./propose.ts";
import { openRow } from "./row.ts";

/** The mailbox under which the server's annotations lie. */
const server = mailboxId(0);
const entryAt = 14;

/** @see MailStore.annotations */
export function annotations(
  engine: Engine,
  who: Principal,
  request: { readonly mailbox: string | undefined },
): Promise<readonly MailboxAnnotations[]> {
  return engine.withAccount(who, async (account) => {
    const { mailbox: asked } = request;
    const only = asked === undefined ? undefined : annotated(account, asked);
    const found = await readAll(engine, account, only);
    engine.check(account, who);
    if (asked !== undefined && only !== undefined) {
      return [{ mailbox: asked, annotations: found.get(only) ?? [] }];
    }
    const all: MailboxAnnotations[] = [];
    for (const [id, list] of found) {
      // Renamed or deleted since it was read: its rows wait for the sweep.
      const mailbox = id === server ? "" : account.mailboxes.get(id)?.name;
      if (mailbox !== undefined) all.push({ mailbox, annotations: list });
    }
    return all.toSorted((a, b) => (a.mailbox < b.mailbox ? -1 : 1));
  });
}

/** @see MailStore.annotate */
export async function annotate(
  engine: Engine,
  who: Principal,
  request: AnnotateRequest,
  signal: AbortSignal,
): Promise<void> {
  await changeExclusively(
    engine,
    who,
    request,
    "none",
    async (account) => {
      const mailbox = annotated(account, request.mailbox);
      const before = await readAll(engine, account, undefined);
      checkLimits(engine.limits, before, mailbox, request);
      const ops = request.entries.map(
        ({ entry, value }): Op => ({ kind: "annotation", mailbox, entry, value }),
      );
      return { ops, outcome: { kind: "none" } };
    },
    signal,
  );
}

function annotated(account: AccountState, mailbox: string): MailboxId {
  return mailbox === "" ? server : mailboxNamed(account, mailbox).id;
}

/** What an account's annotations would come to. @throws MailError LIMIT */
function checkLimits(
  limits: StoreLimits,
  before: ReadonlyMap<MailboxId, readonly Annotation[]>,
  mailbox: MailboxId,
  { entries }: AnnotateRequest,
): void {
  const after = new Map((before.get(mailbox) ?? []).map(({ entry, value }) => [entry, value]));
  let bytes = 0;
  for (const [id, list] of before) if (id !== mailbox) bytes += bytesOf(list);
  let grows = false;
  for (const { entry, value } of entries) {
    if (value === undefined) {
      after.delete(entry);
      continue;
    }
    if (value.length > limits.annotationBytesMax) throw limit(limits, "annotationBytesMax");
    grows = true;
    after.set(entry, value);
  }
  // What only removes is always taken.
  if (!grows) return;
  if (after.size > limits.annotationsMax) throw limit(limits, "annotationsMax");
  bytes += bytesOf(Array.from(after, ([entry, value]) => ({ entry, value })));
  if (bytes > limits.accountAnnotationBytesMax) throw limit(limits, "accountAnnotationBytesMax");
}

function limit(
  limits: StoreLimits,
  name: "annotationBytesMax" | "annotationsMax" | "accountAnnotationBytesMax",
): MailError {
  return new MailError({ code: "LIMIT", limit: name, most: limits[name] });
}

function bytesOf(list: readonly Annotation[]): number {
  return list.reduce((sum, { entry, value }) => sum + entry.length + value.length, 0);
}

function readAll(
  engine: Engine,
  account: AccountState,
  only: MailboxId | undefined,
): Promise<Map<MailboxId, Annotation[]>> {
  const prefix =
    only === undefined
      ? accountKey(account.id, table.annotation)
      : mailboxKey(account.id, table.annotation, only);
  return mending(engine.rows, async () => {
    const found = new Map<MailboxId, Annotation[]>();
    for await (const rows of engine.rows.range(prefix, afterPrefix(prefix))) {
      for (const [key, value] of rows) {
        const id = mailboxId(key.readUInt32BE(10));
        // Rows of a deleted mailbox wait for the sweep.
        if (id !== server && !account.mailboxes.has(id)) continue;
        const entry = key.toString("utf8", entryAt);
        const annotation = { entry, value: Uint8Array.from(openRow(key, value).bytes()) };
        const list = found.get(id);
        if (list === undefined) found.set(id, [annotation]);
        else list.push(annotation);
      }
    }
    return found;
  });
}
