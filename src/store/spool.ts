// The spool of a shard: takes mail over for recipients elsewhere, and removes what is done with. Also
// logs confirmations that no delivery carries. Rows are spool-rows.ts; delivering is spool-drain.ts.

import { crashPoint } from "../lib/crash-point.ts";
import { background } from "./background.ts";
import { MailError } from "../mail/errors.ts";
import type { ShardId } from "../mail/ids.ts";
import type { SpoolRequest } from "../mail/spool.ts";
import { checkSource, partOf } from "./deliver.ts";
import { orAborted } from "./deferred.ts";
import { encodeConfirm, encodeSpool, encodeUnspool } from "./delivery-codec.ts";
import type { Engine } from "./engine.ts";
import { entryKind } from "./entry-kind.ts";
import type { SpoolPayload, UnspoolPayload } from "./entry-kind.ts";
import { propose } from "./propose.ts";

/** @see MailStore.spool. The request names the shard. */
export async function spool(
  engine: Engine,
  request: SpoolRequest & { readonly shard: ShardId },
  signal: AbortSignal,
): Promise<void> {
  const { shard, source, parts } = request;
  engine.mustServe(shard);
  await checkSource(engine, source);
  const use = await engine.spoolUsage.count(shard);
  const length = source.kind === "bytes" ? source.bytes.length : source.blob.sizeBytes;
  const { spoolBytesMax, spoolRecipientsMax } = engine.limits;
  const recipients = parts.reduce((sum, part) => sum + part.recipients.length, 0);
  if (use.recipients + recipients > spoolRecipientsMax || use.bytes + length > spoolBytesMax)
    throw new MailError({ code: "BUSY", what: "spool" });
  if (engine.rows.full) await orAborted(engine.rows.room(), signal);
  engine.mustServe(shard);
  engine.mustTakeMail(shard);
  const payload: SpoolPayload = {
    timeMs: engine.clock.nowMs(),
    deliveryId: request.deliveryId,
    part: partOf(source, 0),
    sender: request.sender,
    ...(request.bounceTo === undefined ? {} : { bounceTo: request.bounceTo }),
    parts,
  };
  crashPoint("spool.beforeAppend");
  await propose(engine, {
    shard,
    opId: engine.nextOpId(),
    kind: entryKind.spool,
    head: encodeSpool(payload),
    payload: { kind: "spool", spool: payload },
    ...(source.kind === "bytes" ? { body: source.bytes } : { blobs: [source.blob.id] }),
    accounts: [],
  });
  crashPoint("spool.afterCommit");
}

/** Forgets rows that are done with. */
export function unspool(
  engine: Engine,
  shard: ShardId,
  rows: UnspoolPayload["rows"],
): Promise<void> {
  return propose(engine, {
    shard,
    opId: engine.nextOpId(),
    kind: entryKind.unspool,
    head: encodeUnspool({ rows }),
    payload: { kind: "unspool", unspool: { rows } },
    accounts: [],
  });
}

/** Logs confirmations that no delivery has come to carry. One that gets lost does no harm. */
export function logConfirmations(engine: Engine, afterMs: number): void {
  for (const shard of engine.unconfirmed.overdue(afterMs)) {
    const fingerprints = engine.unconfirmed.take(shard);
    if (fingerprints === undefined || !engine.journal.serves(shard)) continue;
    const confirm = { timeMs: engine.clock.nowMs(), fingerprints };
    const head = encodeConfirm(confirm);
    const payload = { kind: "confirm", confirm } as const;
    const opId = engine.nextOpId();
    crashPoint("confirm.beforeAppend");
    try {
      const kind = entryKind.confirm;
      background(propose(engine, { shard, opId, kind, head, payload, accounts: [] }));
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
    }
  }
}
