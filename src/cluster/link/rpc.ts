// What members ask of each other over links, without saying how: calls, streams and uploads.
// The transport (frames, credits, reconnect, TLS) is behind it; so is the simulator's network.

import type { MemberId } from "../../mail/ids.ts";

export interface RpcReply {
  /** Any msgpack-able value; the receiver decodes it as `unknown`. */
  readonly head: unknown;
  readonly body?: Uint8Array;
}

export interface CallOptions {
  /** At most 1 MiB less the head. Above 16 KiB it must not change until the answer. */
  readonly body?: Uint8Array;
  /** Cancels: the caller gets UNAVAILABLE, the handler's signal aborts. */
  readonly signal: AbortSignal;
  /** A call without an answer by then is cancelled: cheaper than `AbortSignal.timeout`. Default 30 s. */
  readonly deadlineMs?: number;
}

/** Our end of the persistent link to one other member. It reconnects by itself. */
export interface Peer {
  readonly id: MemberId;
  /** True while a link is up and greeted. */
  readonly up: boolean;
  /** Rejects with the MailError that the handler threw, or UNAVAILABLE when the link is down or breaks. */
  call(method: string, head: unknown, options: CallOptions): Promise<RpcReply>;
  /** Items until the other end finishes. Credits: a consumer that stops reading stops the producer. */
  stream(method: string, head: unknown, options: CallOptions): AsyncIterable<RpcReply>;
  /** Sends a body of any length in pieces, under credits, and waits for the reply. */
  upload(
    method: string,
    head: unknown,
    chunks: AsyncIterable<Uint8Array>,
    options: { readonly signal: AbortSignal },
  ): Promise<RpcReply>;
  /** One frame without a reply; dropped when the link is down. */
  send(method: string, head: unknown, body?: Uint8Array): void;
  /** Runs at each change of `up`; returns a function that removes it. */
  onChange(listener: (up: boolean) => void): () => void;
}

export interface RpcRequest {
  readonly from: MemberId;
  readonly head: unknown;
  /** A view of what the socket gave, which is not used again; it keeps up to 64 KiB more alive. */
  readonly body?: Uint8Array;
  /** Aborts when the caller cancels or its link is gone. */
  readonly signal: AbortSignal;
}

/** What a member answers. Each method is registered once, before the link server listens. */
export interface RpcRegistry {
  onCall(method: string, handler: (request: RpcRequest) => RpcReply | Promise<RpcReply>): void;
  onStream(method: string, handler: (request: RpcRequest) => AsyncIterable<RpcReply>): void;
  onUpload(
    method: string,
    handler: (request: RpcRequest, chunks: AsyncIterable<Uint8Array>) => Promise<RpcReply>,
  ): void;
  onSend(method: string, handler: (request: RpcRequest) => void): void;
}

/** The links of this member: one per other member, made when first asked for. */
export interface Links {
  peer(id: MemberId): Peer;
  /** Latest load figures that came with replies, by member; the receiver decodes. Paper §4.1 */
  loads(): ReadonlyMap<MemberId, unknown>;
}
