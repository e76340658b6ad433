// Repairs between nodes: asks the other members of a shard for bytes that were found damaged here, and
// answers when they ask. What is asked for and what becomes of it is store/repairs.ts and its source.

import { crc32c } from "../../lib/crc32c.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import { lsn as makeLsn, shardId, shardMax } from "../../mail/ids.ts";
import type { Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { BlobInfo } from "../../store/log/blob-store.ts";
import type { BodyId } from "../../store/log/types.ts";
import type {
  GivenBody,
  GivenRows,
  KeyRange,
  RepairGiver,
  RepairSource,
} from "../../store/repair-source.ts";
import { givenBytesMax } from "../../store/repair-source.ts";
import type { Links, RpcRegistry, RpcReply, RpcRequest } from "../link/rpc.ts";
import { blobName, checked } from "./copy-wire.ts";
import { asArray, asBoolean, asBytes, asCount, asListOf, asText, malformed } from "./decode.ts";

const methods = { body: "repair.body", blob: "repair.blob", rows: "repair.rows" } as const;
const askMs = 10_000;
const pieceBytes = 256 * 1024;
const rangesMax = 64;
const partMax = 0xffff;
const none = new Uint8Array(0);

export interface NodeRepairsOptions {
  readonly giver: RepairGiver;
  readonly links: Links;
  /** The other members of a shard that have a full copy, the primary first. */
  readonly members: (shard: ShardId) => readonly MemberId[];
}

export class NodeRepairs implements RepairSource {
  readonly #options: NodeRepairsOptions;
  readonly #stop = new AbortController();

  constructor(options: NodeRepairsOptions) {
    this.#options = options;
  }

  /** Call before links are accepted. */
  register(registry: RpcRegistry): void {
    registry.onCall(methods.body, (request) => this.#giveBody(request));
    registry.onStream(methods.blob, (request) => this.#giveBlob(request));
    registry.onStream(methods.rows, (request) => this.#giveRows(request));
  }

  close(): void {
    this.#stop.abort(new MailError({ code: "UNAVAILABLE", why: "this node is stopping" }));
  }

  body(id: BodyId): Promise<GivenBody | undefined> {
    const head = [id.shard, id.lsn, id.part];
    return this.#askEach<GivenBody>(id.shard, async (node) => {
      const { links } = this.#options;
      const options = { signal: this.#stop.signal, deadlineMs: askMs };
      const reply = await links.peer(node).call(methods.body, head, options);
      const [crc, ...blob] = asArray(reply.head, "body");
      if (blob.length > 0) return { kind: "blob", blob: decodeBlob(blob) };
      if (crc === null) return undefined;
      return { kind: "bytes", bytes: checked(crc, reply.body ?? none) };
    });
  }

  async *blob(shard: ShardId, name: string): AsyncGenerator<Uint8Array> {
    const { links, members } = this.#options;
    const [node] = members(shard).filter((each) => links.peer(each).up);
    if (node === undefined) throw nobody();
    const { signal } = this.#stop;
    for await (const { head, body = none } of links
      .peer(node)
      .stream(methods.blob, [name], { signal })) {
      yield checked(asArray(head, "piece")[0], body);
    }
  }

  async rows(shard: ShardId, atLeast: Lsn, ranges: readonly KeyRange[]): Promise<GivenRows> {
    const flat = ranges.flatMap(({ gte, lt }) => [gte, lt]);
    let at = atLeast;
    const rows = await this.#askEach(shard, async (node) => {
      const given = await this.#rowsOf(node, [shard, atLeast, flat]);
      at = given.lsn;
      return given.rows;
    });
    return { lsn: at, rows };
  }

  /** The first good answer; undefined when every member was asked and none has it unharmed. */
  async #askEach<T>(
    shard: ShardId,
    ask: (node: MemberId) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const nodes = this.#options.members(shard);
    if (nodes.length === 0) throw nobody();
    let missing: MailError | undefined;
    for (const node of nodes) {
      try {
        const answer = await ask(node);
        if (answer !== undefined) return answer;
      } catch (error) {
        if (!isMailError(error)) throw error;
        missing = error;
      }
    }
    if (missing !== undefined) throw nobody(missing);
    return undefined;
  }

  async #rowsOf(node: MemberId, head: readonly unknown[]): Promise<GivenRows> {
    const { links } = this.#options;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(askMs)]);
    let first: readonly unknown[] | undefined;
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const item of links.peer(node).stream(methods.rows, head, { signal })) {
      const fields = asArray(item.head, "rows");
      if (first === undefined) {
        first = fields;
        continue;
      }
      const part = checked(fields[0], item.body ?? none);
      bytes += part.byteLength;
      if (bytes > givenBytesMax * 2) throw malformed("rows");
      parts.push(Uint8Array.from(part));
    }
    const lsn = makeLsn(asCount(first?.[0], "lsn"));
    if (asBoolean(first?.[1], "damage")) return { lsn, rows: undefined };
    return { lsn, rows: unpackRows(Buffer.concat(parts)) };
  }

  async #giveBody({ head }: RpcRequest): Promise<RpcReply> {
    const fields = asArray(head, "body");
    const shard = shardId(asCount(fields[0], "shard", shardMax));
    const lsn = makeLsn(asCount(fields[1], "lsn"));
    const part = asCount(fields[2], "part", partMax);
    const given = await this.#options.giver.body({ shard, lsn, part });
    if (given === undefined) return { head: [null] };
    if (given.kind === "bytes") return { head: [crc32c(given.bytes)], body: given.bytes };
    const { name, bytes, sha256 } = given.blob;
    return { head: [null, name, bytes, sha256] };
  }

  async *#giveBlob({ head, signal }: RpcRequest): AsyncGenerator<RpcReply> {
    const name = blobName(asArray(head, "blob")[0]);
    for await (const piece of this.#options.giver.blob({ name })) {
      signal.throwIfAborted();
      yield { head: [crc32c(piece)], body: piece };
    }
  }

  async *#giveRows({ head, signal }: RpcRequest): AsyncGenerator<RpcReply> {
    const fields = asArray(head, "rows");
    const shard = shardId(asCount(fields[0], "shard", shardMax));
    const atLeast = makeLsn(asCount(fields[1], "lsn"));
    const ranges = rangesOf(fields[2]);
    const given = await this.#options.giver.rows(shard, atLeast, ranges, signal);
    yield { head: [given.lsn, given.rows === undefined] };
    const all = packRows(given.rows ?? []);
    for (let at = 0; at < all.length; at += pieceBytes) {
      const piece = all.subarray(at, at + pieceBytes);
      yield { head: [crc32c(piece)], body: piece };
    }
  }
}

function decodeBlob(fields: readonly unknown[]): BlobInfo {
  return {
    name: blobName(fields[0]),
    bytes: asCount(fields[1], "length"),
    sha256: asText(fields[2], "digest", 64),
  };
}

function rangesOf(value: unknown): readonly KeyRange[] {
  const keys = asListOf(value, "ranges", asBytes);
  if (keys.length % 2 !== 0 || keys.length > rangesMax * 2) throw malformed("ranges");
  const ranges: KeyRange[] = [];
  for (let at = 0; at < keys.length; at += 2) {
    ranges.push({ gte: Buffer.from(keys[at] ?? none), lt: Buffer.from(keys[at + 1] ?? none) });
  }
  return ranges;
}

function packRows(rows: readonly (readonly [Buffer, Buffer])[]): Buffer {
  const parts: Buffer[] = [];
  for (const [key, value] of rows) {
    const lengths = Buffer.allocUnsafe(8);
    lengths.writeUInt32BE(key.length, 0);
    lengths.writeUInt32BE(value.length, 4);
    parts.push(lengths, key, value);
  }
  return Buffer.concat(parts);
}

function unpackRows(bytes: Buffer): readonly (readonly [Buffer, Buffer])[] {
  const rows: [Buffer, Buffer][] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 8 > bytes.length) throw malformed("rows");
    const keyEnd = at + 8 + bytes.readUInt32BE(at);
    const end = keyEnd + bytes.readUInt32BE(at + 4);
    if (end > bytes.length) throw malformed("rows");
    rows.push([bytes.subarray(at + 8, keyEnd), bytes.subarray(keyEnd, end)]);
    at = end;
  }
  return rows;
}

function nobody(cause?: MailError): MailError {
  return new MailError({ code: "UNAVAILABLE", why: "no other member can be asked" }, { cause });
}
