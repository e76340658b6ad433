// The form of one MailStore call on the wire, used by both ends: the gateway encodes requests and
// decodes answers, the node the other way round. Methods themselves are in methods-*.ts.

import { isMailError, MailError } from "../../mail/errors.ts";
import { opId } from "../../mail/ids.ts";
import type { Change } from "../../mail/mail-store.ts";
import type { RpcReply } from "../link/rpc.ts";
import { asBoolean, asHex32 } from "./decode.ts";

export interface Wire {
  /** Behind the four fields of every head: epoch, shard, account, credVersion. */
  readonly args: readonly unknown[];
  readonly body?: Uint8Array;
}

export interface Method<Request, Result> {
  readonly name: string;
  /** Answers may be longer than a frame: then the caller is told `tooLong`, and asks for a stream of pieces. */
  readonly large: boolean;
  encode(request: Request): Wire;
  /** @throws {MailError} INVALID */
  decode(args: readonly unknown[], body: Uint8Array | undefined): Request;
  encodeReply(result: Result): RpcReply;
  /** @throws {MailError} INVALID */
  decodeReply(reply: RpcReply): Result;
}

/** Where the arguments begin in a head. */
export const argsAt = 4;

export function encodeChange(change: Change): readonly [string, boolean] {
  return [change.opId, change.retry];
}

export function decodeChange(args: readonly unknown[]): Change {
  return { opId: opId(asHex32(args[0], "opId")), retry: asBoolean(args[1], "retry") };
}

/** The stream of a method that is `large`. */
export function streamOf(method: { readonly name: string }): string {
  return `${method.name}.long`;
}

const tooLongLimit = "bytes of an answer";

/** Refuses an answer that a call can't carry. */
export function tooLong(most: number): MailError {
  return new MailError({ code: "LIMIT", limit: tooLongLimit, most });
}

export function isTooLong(error: unknown): boolean {
  return (
    isMailError(error, "LIMIT") && "limit" in error.failure && error.failure.limit === tooLongLimit
  );
}

/** Of methods that answer nothing but "done". */
export const noResult = {
  encodeReply: (): RpcReply => ({ head: null }),
  decodeReply: (): void => undefined,
};

/** Of methods that ask nothing but who. */
export const noRequest = {
  encode: (): Wire => ({ args: [] }),
  decode: (): undefined => undefined,
};
