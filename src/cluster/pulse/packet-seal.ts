// Header and tag of a datagram, and who may say what to us: a packet counts only if its tag is right,
// it is for this start of this member, comes from the present start of a member that is listed, and
// was not taken before. Everything else changes nothing but a counter.

import { createHmac, timingSafeEqual } from "node:crypto";
import { assert } from "../../lib/assert.ts";
import { DecodeError } from "../../lib/decode.ts";
import type { MemberId } from "../../mail/ids.ts";
import { packetBytesMax, PacketReader, PacketWriter } from "./packet-bytes.ts";
import { readBody, typeOf, writeBody } from "./packet-codec.ts";
import type { PulseMessage } from "./packet-codec.ts";
import type { PulseDrop, PulseKey } from "./pulse.ts";

/** "PB" and the version of the layout. */
const magic = 0x5042;
const version = 1;
const tagBytes = 16;
/** Packets may overtake each other by so many. */
const windowBits = 32;

export interface Sender {
  readonly member: MemberId;
  readonly incarnation: number;
}

export type Opened =
  | { readonly ok: true; readonly from: MemberId; readonly message: PulseMessage }
  | { readonly ok: false; readonly drop: PulseDrop };

/** Numbers of one sender that were taken: the highest, and a bit for each of those just below it. */
interface Window {
  readonly incarnation: number;
  highest: number;
  bits: number;
}

export class PacketSeal {
  readonly #clusterId: string;
  readonly #me: Sender;
  #keys: ReadonlyMap<number, Buffer> = new Map();
  #signer: { readonly id: number; readonly key: Buffer } = { id: 0, key: Buffer.alloc(0) };
  readonly #writer = new PacketWriter();
  #senders: ReadonlyMap<MemberId, Window> = new Map();
  #sent = 0;

  constructor(clusterId: string, me: Sender, keys: readonly PulseKey[]) {
    this.#clusterId = clusterId;
    this.#me = me;
    this.setKeys(keys);
  }

  /** The first key signs, all are accepted: members take a new key one after another. */
  setKeys(keys: readonly PulseKey[]): void {
    const [first] = keys;
    assert(first !== undefined, "a pulse has a key");
    const derived = keys.map((key) => [key.id, deriveKey(this.#clusterId, key)] as const);
    this.#keys = new Map(derived);
    this.#signer = { id: first.id, key: deriveKey(this.#clusterId, first) };
  }

  /** Who may speak to us. What was taken from a sender stays known while its incarnation is the same. */
  setSenders(senders: readonly Sender[]): void {
    const next = new Map<MemberId, Window>();
    for (const { member, incarnation } of senders) {
      const old = this.#senders.get(member);
      const kept = old?.incarnation === incarnation ? old : { incarnation, highest: 0, bits: 0 };
      next.set(member, kept);
    }
    this.#senders = next;
  }

  /** A datagram for `to`: a view that the next call overwrites. */
  seal(to: Sender, message: PulseMessage): Buffer {
    const out = this.#writer;
    out.reset();
    out.u16(magic);
    out.u8(version);
    out.u8(typeOf(message));
    out.u8(this.#signer.id);
    this.#sent += 1;
    out.u48(this.#sent);
    out.u48(this.#me.incarnation);
    out.u48(to.incarnation);
    out.name(this.#me.member);
    out.name(to.member);
    writeBody(out, message);
    out.bytes(tagOf(this.#signer.key, out.view()));
    return out.view();
  }

  open(datagram: Buffer): Opened {
    try {
      return this.#open(datagram);
    } catch (error) {
      if (error instanceof DecodeError) return { ok: false, drop: "malformed" };
      throw error;
    }
  }

  #open(datagram: Buffer): Opened {
    if (datagram.length > packetBytesMax || datagram.length < tagBytes) return refuse("malformed");
    const signed = datagram.subarray(0, datagram.length - tagBytes);
    const from = new PacketReader(signed);
    if (from.u16() !== magic || from.u8() !== version) return refuse("malformed");
    const type = from.u8();
    const key = this.#keys.get(from.u8());
    if (key === undefined) return refuse("otherKey");
    // Nothing behind this line is believed, or even looked at, without the right tag.
    const tag = datagram.subarray(datagram.length - tagBytes);
    if (!timingSafeEqual(tagOf(key, signed), tag)) return refuse("forged");
    const seq = from.u48();
    const fromIncarnation = from.u48();
    const toIncarnation = from.u48();
    const sender = from.name();
    if (from.name() !== this.#me.member) return refuse("otherReceiver");
    const window = this.#senders.get(sender);
    if (window === undefined) return refuse("unknownSender");
    if (window.incarnation !== fromIncarnation) return refuse("otherIncarnation");
    if (toIncarnation !== this.#me.incarnation) return refuse("otherIncarnation");
    if (!take(window, seq)) return refuse("replayed");
    return { ok: true, from: sender, message: readBody(type, from) };
  }
}

function refuse(drop: PulseDrop): Opened {
  return { ok: false, drop };
}

/** Clusters that share a secret by mistake still don't understand each other. */
function deriveKey(clusterId: string, { secret }: PulseKey): Buffer {
  return createHmac("sha256", secret).update(`pabal pulse 1 ${clusterId}`).digest();
}

function tagOf(key: Buffer, bytes: Buffer): Buffer {
  return createHmac("sha256", key).update(bytes).digest().subarray(0, tagBytes);
}

/** Notes `seq` as taken; false when it was, or is too old to tell. */
function take(window: Window, seq: number): boolean {
  if (seq > window.highest) {
    const ahead = seq - window.highest;
    const shifted = ahead < windowBits ? window.bits << ahead : 0;
    window.bits = ahead <= windowBits ? shifted | (1 << (ahead - 1)) : 0;
    window.highest = seq;
    return true;
  }
  const behind = window.highest - seq;
  if (behind === 0 || behind > windowBits) return false;
  const bit = 1 << (behind - 1);
  if ((window.bits & bit) !== 0) return false;
  window.bits |= bit;
  return true;
}
