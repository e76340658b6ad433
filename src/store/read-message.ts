// One message's stored bytes in pieces: POP3 RETR, and the rest of a literal after a failover.

import { MailError } from "../mail/errors.ts";
import type { MailboxId, Uid } from "../mail/ids.ts";
import type { Principal } from "../mail/mail-store.ts";
import { readBodies } from "./bodies.ts";
import type { Engine } from "./engine.ts";

const pieceBytes = 128 * 1024;

/** @see MailStore.readMessage */
export async function* readMessage(
  engine: Engine,
  who: Principal,
  request: { readonly mailbox: MailboxId; readonly uid: Uid; readonly offset: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const body = await engine.withAccount(who, (account) => {
    const mailbox = account.mailbox(request.mailbox);
    return engine.withSummary(account, mailbox, async ({ columns }) => {
      const at = columns.indexOf(request.uid);
      const name =
        at >= 0
          ? { tag: columns.bodyTag[at] ?? 0, lsn: columns.bodyLsn[at] ?? 0 }
          : request.offset > 0
            ? engine.removals.find(account.id, request.mailbox, request.uid)
            : undefined;
      if (name === undefined) throw new MailError({ code: "INVALID", why: "the message is gone" });
      const [found] = await readBodies(engine, columns, [request.uid], [name]);
      return found;
    });
  });
  if (body === undefined) return;
  const length = body.kind === "bytes" ? body.bytes.length : body.length;
  for (let at = request.offset; at < length; at += pieceBytes) {
    signal.throwIfAborted();
    const end = Math.min(length, at + pieceBytes);
    const piece =
      body.kind === "bytes"
        ? body.bytes.subarray(at, end)
        : await engine.bodies.readBlob(body.id, at, end - at);
    engine.mustServe(who.shard);
    yield piece;
  }
}
