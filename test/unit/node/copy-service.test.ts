// Full copies over links: they arrive as they were, two at a time; a broken stream is told as failed
// and leaves nothing that counts; malformed pieces are refused.

import fc from "fast-check";
import { pino } from "pino";
import { afterEach, describe, expect, it } from "vitest";
import { CopyService } from "../../../src/cluster/node/copy-service.ts";
import { decodePiece, encodePiece } from "../../../src/cluster/node/copy-wire.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { crc32c } from "../../../src/lib/crc32c.ts";
import { lsn, memberId, shardId } from "../../../src/mail/ids.ts";
import type { ShardId } from "../../../src/mail/ids.ts";
import type { CopyPiece, CopyPoint } from "../../../src/store/shard-copy.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type { Links, RpcReply } from "../../../src/cluster/link/rpc.ts";
import { MailError } from "../../../src/mail/errors.ts";

const shard = shardId(3);
const from = memberId("n1");
const point: CopyPoint = { lsn: lsn(7), hash: 4711 };
const bytes = Buffer.from("some bytes of a body");

const pieces: readonly CopyPiece[] = [
  { kind: "begin", shard, point, accounts: 2, bytes: 900 },
  { kind: "rows", bytes: Buffer.from("rows") },
  {
    kind: "bodies",
    bodies: [
      { lsn: 5, part: 0, length: bytes.length, crc: crc32c(bytes) },
      { lsn: 6, part: 2, length: 10, crc: undefined },
    ],
    bytes,
  },
  { kind: "blob", lsn: 6, part: 0, name: "b-1", length: 3, sha256: "00" },
  { kind: "blobBytes", bytes: Buffer.from("abc"), last: true },
  { kind: "end", rows: 1, bodies: 3 },
];

/** Takes copies in by noting their pieces, and hands out those of `give`. */
class NotedCopies {
  readonly progress = [];
  readonly taken: CopyPiece[] = [];
  give: () => AsyncIterable<CopyPiece> = async function* () {
    yield* pieces;
  };

  exportShard(): AsyncIterable<CopyPiece> {
    return this.give();
  }

  async importShard(_: ShardId, stream: AsyncIterable<CopyPiece>): Promise<CopyPoint> {
    for await (const piece of stream) this.taken.push(piece);
    return point;
  }
}

/** Streams to one other member that break when told to, and end with their signal. */
class OneLink {
  readonly registry = new MethodRegistry();
  itemsUntilBreak = Number.POSITIVE_INFINITY;

  async *#stream(method: string, head: unknown, signal: AbortSignal): AsyncGenerator<RpcReply> {
    const found = this.registry.method(method);
    if (found?.kind !== "stream") throw new Error(`no stream ${method}`);
    const aborted = new Promise<never>((_, reject) => {
      const why = "the call was cancelled";
      const abort = (): void => reject(new MailError({ code: "UNAVAILABLE", why }));
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
    const items = found.handle({ from: memberId("n2"), head, signal })[Symbol.asyncIterator]();
    for (;;) {
      const item = await Promise.race([items.next(), aborted]);
      if (item.done === true) return;
      if (this.itemsUntilBreak-- <= 0) {
        this.itemsUntilBreak = Number.POSITIVE_INFINITY;
        throw new MailError({ code: "UNAVAILABLE", why: "the link broke" });
      }
      yield item.value;
    }
  }

  get links(): Links {
    const unused = (): never => {
      throw new Error("copies only stream");
    };
    const peer = {
      id: from,
      up: true,
      call: unused,
      upload: unused,
      send: unused,
      onChange: unused,
      stream: (method: string, head: unknown, { signal }: { readonly signal: AbortSignal }) =>
        this.#stream(method, head, signal),
    };
    return { peer: () => peer, loads: () => new Map() };
  }
}

const services: CopyService[] = [];
afterEach(() => {
  for (const service of services.splice(0)) service.close();
});

function setUp() {
  const link = new OneLink();
  const [giver, taker] = [new NotedCopies(), new NotedCopies()];
  const options = {
    links: link.links,
    clock: systemClock,
    logger: pino({ level: "silent" }),
    syncP99Ms: () => 0,
    bytesPerSecondMax: 1e9,
  };
  const gives = new CopyService({ ...options, copies: giver });
  const takes = new CopyService({ ...options, copies: taker });
  gives.register(link.registry);
  services.push(gives, takes);
  return { link, giver, taker, gives, takes };
}

describe("a full copy over links", () => {
  it("arrives piece by piece as it was", async () => {
    const { taker, takes } = setUp();
    expect(await takes.take(shard, from)).toEqual(point);
    expect(taker.taken).toEqual(pieces);
    expect(takes.figures).toMatchObject({ finished: 1, failed: 0, waiting: 0 });
  });

  it("is told as failed when the link breaks, and can be tried again", async () => {
    const { link, takes } = setUp();
    link.itemsUntilBreak = 3;
    expect(await takes.take(shard, from)).toBeUndefined();
    expect(takes.figures.failed).toBe(1);
    expect(await takes.take(shard, from)).toEqual(point);
  });

  it("waits for its turn behind two others", async () => {
    const { giver, takes } = setUp();
    let running = 0;
    let most = 0;
    giver.give = async function* () {
      running++;
      most = Math.max(most, running);
      yield* pieces;
      running--;
    };
    const all = [1, 2, 3, 4, 5].map((each) => takes.take(shardId(each), from));
    expect(takes.figures.waiting).toBe(3);
    expect(await Promise.all(all)).toEqual(all.map(() => point));
    expect(most).toBe(2);
  });

  it("ends when it is not wanted any more, and when the node stops", async () => {
    const { giver, takes } = setUp();
    giver.give = async function* () {
      yield* pieces.slice(0, 2);
      await new Promise<never>(() => {
        // Never comes.
      });
    };
    const ended = takes.take(shard, from);
    const queued = [takes.take(shardId(8), from), takes.take(shardId(9), from)];
    takes.cancel(shard);
    takes.close();
    expect(await Promise.all([ended, ...queued])).toEqual([undefined, undefined, undefined]);
  });
});

describe("pieces on the wire", () => {
  it.each(pieces.map((piece) => [piece.kind, piece] as const))("%s", (_, piece) => {
    expect(decodePiece(encodePiece(piece))).toEqual(piece);
  });

  it("a body that changed on its way is refused", () => {
    for (const piece of pieces) {
      const { head, body } = encodePiece(piece);
      if (body === undefined) continue;
      const changed = Buffer.from(body);
      changed[1] = (changed[1] ?? 0) ^ 4;
      expect(() => decodePiece({ head, body: changed })).toThrow("INVALID");
    }
  });

  it("whatever else comes is refused as malformed", () => {
    const value = fc.oneof(fc.integer(), fc.string(), fc.constant(null), fc.boolean());
    const head = fc.oneof(
      fc.anything(),
      fc.tuple(fc.integer({ min: 0, max: 7 })),
      fc.tuple(fc.integer({ min: 0, max: 7 }), value, value, value, value, value),
      fc.tuple(fc.integer({ min: 1, max: 2 }), fc.constant(0), fc.array(value)),
    );
    fc.assert(
      fc.property(head, (given) => {
        try {
          decodePiece({ head: given });
        } catch (error) {
          expect(String(error)).toContain("INVALID");
        }
      }),
    );
  });
});
