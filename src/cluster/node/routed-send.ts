// How the routed store's requests go out: as one call, as a stream of pieces when the answer is long,
// as an upload. Which primary is asked, and how often, is shard-caller.ts's.

import { MailError } from "../../mail/errors.ts";
import type { Epoch, ShardId } from "../../mail/ids.ts";
import type { BlobRef } from "../../mail/mail-store.ts";
import type { Peer, RpcReply } from "../link/rpc.ts";
import { decodeBlob } from "./codec-values.ts";
import { headOf, shardPrincipal, streamNames } from "./mail-service.ts";
import { isTooLong, streamOf } from "./method.ts";

export interface Sent {
  readonly head: readonly unknown[];
  /** The same, known to have been asked before. */
  readonly headAgain: () => readonly unknown[];
  readonly body: Uint8Array | undefined;
}

/** By a call; an answer that is too long for one is asked for again, in pieces. */
export function send(
  peer: Peer,
  method: { readonly name: string; readonly large: boolean },
  sent: Sent,
  signal: AbortSignal,
  deadlineMs: number,
): Promise<RpcReply> {
  const { head, body } = sent;
  const options = body === undefined ? { signal, deadlineMs } : { body, signal, deadlineMs };
  const reply = peer.call(method.name, head, options);
  if (!method.large) return reply;
  return reply.catch((error: unknown) => {
    if (!isTooLong(error)) throw error;
    return inPieces(peer, method, sent, signal);
  });
}

/** A long answer, put together from its pieces. */
async function inPieces(
  peer: Peer,
  method: { readonly name: string },
  { headAgain, body }: Sent,
  signal: AbortSignal,
): Promise<RpcReply> {
  const options = body === undefined ? { signal } : { body, signal };
  let first: RpcReply | undefined;
  const bodies: Uint8Array[] = [];
  for await (const reply of peer.stream(streamOf(method), headAgain(), options)) {
    first ??= reply;
    if (reply.body !== undefined) bodies.push(reply.body);
  }
  if (first === undefined) throw new MailError({ code: "UNAVAILABLE", why: "no answer" });
  return bodies.length <= 1 ? first : { head: first.head, body: Buffer.concat(bodies) };
}

export async function upload(
  peer: Peer,
  epoch: Epoch,
  shard: ShardId,
  id: string,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<BlobRef> {
  const head = headOf(epoch, shardPrincipal(shard), [id]);
  const reply = await peer.upload(streamNames.blob, head, chunks, { signal });
  return decodeBlob(reply.head);
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
