// What a node's directory stream carries to a gateway, and what the gateway tells it back. All of a
// node's shards share one stream. Leaves when to send what to row-stream.ts.

import type { DirectoryRow } from "../../mail/account.ts";
import { asArray, asCount, asListOf, asText, malformed } from "../node/decode.ts";
import type { ClaimRow } from "./claims.ts";
import {
  decodeClaimRow,
  decodePosition,
  decodeRow,
  encodeClaimRow,
  encodePosition,
  encodeRow,
  fieldsOf,
} from "./wire.ts";
import type { Position } from "./wire.ts";

export type StreamItem =
  /** Changes of one shard, in order. */
  | {
      readonly kind: "rows";
      readonly at: Position;
      readonly rows: readonly DirectoryRow[];
      readonly claims: readonly ClaimRow[];
    }
  /**
   * A piece of all that a shard has: rows by account, then claims by name. What the gateway holds
   * of that shard behind the last piece, up to and with `through`, and is not listed, is gone.
   */
  | {
      readonly kind: "accounts";
      readonly at: Position;
      readonly rows: readonly DirectoryRow[];
      /** Last account that this piece speaks of; 2^53-1 in the last one. */
      readonly through: number;
    }
  | {
      readonly kind: "claims";
      readonly at: Position;
      readonly claims: readonly ClaimRow[];
      /** Last name that this piece speaks of; undefined in the last one. */
      readonly through: string | undefined;
    }
  /**
   * The gateway has everything of these shards up to these places, and the node served them at some
   * time after the gateway's clock said `echo`.
   */
  | { readonly kind: "mark"; readonly echo: number; readonly shards: readonly Position[] };

export function encodeItem(item: StreamItem): unknown {
  switch (item.kind) {
    case "rows":
      return [
        0,
        encodePosition(item.at),
        item.rows.map(encodeRow),
        item.claims.map(encodeClaimRow),
      ];
    case "accounts":
      return [1, encodePosition(item.at), item.rows.map(encodeRow), item.through];
    case "claims":
      return [2, encodePosition(item.at), item.claims.map(encodeClaimRow), item.through ?? null];
    case "mark":
      return [3, item.echo, item.shards.map(encodePosition)];
  }
}

/** @throws MailError INVALID */
export function decodeItem(value: unknown): StreamItem {
  const [kind, first, second, third] = asArray(value, "directory item");
  switch (kind) {
    case 0:
      return {
        kind: "rows",
        at: decodePosition(first),
        rows: asListOf(second, "rows", decodeRow),
        claims: asListOf(third, "claims", decodeClaimRow),
      };
    case 1:
      return {
        kind: "accounts",
        at: decodePosition(first),
        rows: asListOf(second, "rows", decodeRow),
        through: asCount(third, "through"),
      };
    case 2:
      return {
        kind: "claims",
        at: decodePosition(first),
        claims: asListOf(second, "claims", decodeClaimRow),
        through: third === null || third === undefined ? undefined : asText(third, "through"),
      };
    case 3:
      return {
        kind: "mark",
        echo: asCount(first, "echo"),
        shards: asListOf(second, "marks", decodePosition),
      };
    default:
      throw malformed("directory item");
  }
}

/** What a gateway asks for: `from` is what it has of each shard; a shard that is not named: nothing. */
export interface StreamRequest {
  /** Tells a gateway's streams apart. */
  readonly session: number;
  readonly from: readonly Position[];
}

/** What a gateway has applied, and its monotonic clock in whole milliseconds, to be echoed. */
export interface Seen {
  readonly session: number;
  readonly nowMs: number;
  readonly applied: readonly Position[];
}

export function encodeRequest(request: StreamRequest): unknown {
  return { session: request.session, from: request.from.map(encodePosition) };
}

export function decodeRequest(value: unknown): StreamRequest {
  const fields = fieldsOf(value, "stream request");
  return {
    session: asCount(fields.get("session"), "session"),
    from: asListOf(fields.get("from"), "from", decodePosition),
  };
}

export function encodeSeen(seen: Seen): unknown {
  return { session: seen.session, nowMs: seen.nowMs, applied: seen.applied.map(encodePosition) };
}

export function decodeSeen(value: unknown): Seen {
  const fields = fieldsOf(value, "seen");
  return {
    session: asCount(fields.get("session"), "session"),
    nowMs: asCount(fields.get("nowMs"), "nowMs"),
    applied: asListOf(fields.get("applied"), "applied", decodePosition),
  };
}
