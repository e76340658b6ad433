// What this node has for one other node, collected over a tick and sent as few frames. One copy of
// each record is made here, into the frame's body.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";
import type { MessageBase } from "../protocol/replica-types.ts";
import type { Peer } from "../link/rpc.ts";
import { ByteWriter } from "../../store/byte-writer.ts";
import { encodeAppend, encodeMessage, replicaMethod, shipBytesMax } from "./replica-wire.ts";
import type { PlainMessage } from "./replica-wire.ts";

/** One entry as it is shipped. */
export interface Shipment {
  readonly lsn: Lsn;
  readonly hash: ChainHash;
  readonly parts: readonly Uint8Array[];
}

const headsMax = 2000;
/** Entries on their way to one member; the link itself refuses at 8 MiB. */
const windowBytes = 4 * 1024 * 1024;
/** What was not acknowledged by then was lost, and is asked for again. */
const forgetMs = 2000;

interface Flight {
  readonly bytes: number;
  readonly sentMs: number;
  readonly arrived: () => boolean;
}

export class Outbox {
  readonly #peer: Peer;
  readonly #heads = new ByteWriter(4096);
  #messages = 0;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  #flights: Flight[] = [];
  #flyingBytes = 0;

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  /** Counts `bytes` as on their way until `arrived` says that the member has them on its disk. */
  sent(bytes: number, sentMs: number, arrived: () => boolean): void {
    this.#flights.push({ bytes, sentMs, arrived });
    this.#flyingBytes += bytes;
  }

  /** True while so much is on its way that nothing more should be shipped. */
  full(nowMs: number): boolean {
    if (this.#flyingBytes <= windowBytes && this.#flights.length < headsMax) return false;
    const rest = this.#flights.findIndex(
      ({ sentMs, arrived }) => !arrived() && nowMs - sentMs < forgetMs,
    );
    const gone = this.#flights.splice(0, rest < 0 ? this.#flights.length : rest);
    for (const { bytes } of gone) this.#flyingBytes -= bytes;
    return this.#flyingBytes > windowBytes;
  }

  add(shard: ShardId, message: PlainMessage): void {
    if (this.#messages >= headsMax) this.flush();
    this.#messages += 1;
    encodeMessage(this.#heads, shard, message);
  }

  /** A message with entries, of any length: split where a frame is full. */
  addAppend(
    kind: "append" | "pulled",
    shard: ShardId,
    base: MessageBase,
    at: { readonly prevLsn: Lsn; readonly prevHash: ChainHash; readonly mark: Lsn },
    entries: readonly Shipment[],
  ): void {
    if (this.#messages >= headsMax) this.flush();
    const add = (): void => {
      this.#messages += 1;
      encodeAppend(this.#heads, kind, shard, base, { prevLsn, prevHash, mark: at.mark }, lengths);
    };
    let { prevLsn, prevHash } = at;
    let lengths: number[] = [];
    for (const entry of entries) {
      let length = 0;
      for (const part of entry.parts) length += part.byteLength;
      if (this.#bytes > 0 && this.#bytes + length > shipBytesMax) {
        if (lengths.length > 0) add();
        this.flush();
        prevLsn = makeLsn(entry.lsn - 1);
        prevHash = previousHash(entries, entry, at.prevHash);
        lengths = [];
      }
      lengths.push(length);
      this.#bytes += length;
      for (const part of entry.parts) this.#parts.push(part);
    }
    add();
  }

  /** Sends what was collected. Dropped when the link is down: the replica asks again. */
  flush(): void {
    if (this.#messages === 0) return;
    const heads = this.#heads.take();
    const body = this.#bytes === 0 ? undefined : Buffer.concat(this.#parts, this.#bytes);
    this.#messages = 0;
    this.#parts = [];
    this.#bytes = 0;
    this.#peer.send(replicaMethod, heads, body);
  }
}

function previousHash(entries: readonly Shipment[], entry: Shipment, first: ChainHash): ChainHash {
  return entries[entries.indexOf(entry) - 1]?.hash ?? first;
}
