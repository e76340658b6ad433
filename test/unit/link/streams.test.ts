// Streams, uploads, one-way frames and load figures between two members over a real loopback link.

import { afterEach, describe, expect, test } from "vitest";
import { whenUp } from "../../../src/cluster/link/link-manager.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type { RpcReply, RpcRequest } from "../../../src/cluster/link/rpc.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { Members, collect, server, until } from "./support.ts";

const members = new Members();
afterEach(() => members.close());

const signal = new AbortController().signal;

async function* bytesOf(total: number, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < total; at += pieceBytes) {
    const piece = Buffer.alloc(Math.min(pieceBytes, total - at), at / pieceBytes);
    yield await Promise.resolve(piece);
  }
}

describe("a stream", () => {
  test("gives its items in order, then ends", async () => {
    const peer = await members.peerWith((registry) =>
      registry.onStream("count", async function* ({ head }) {
        for (let n = 0; n < Number(head); n++) yield await Promise.resolve({ head: n });
      }),
    );
    const items = await collect(peer.stream("count", 10_000, { signal }));
    expect(items.map(({ head }) => head)).toEqual(Array.from({ length: 10_000 }, (_, n) => n));
  });

  test("that fails gives the items before, then the MailError", async () => {
    const peer = await members.peerWith((registry) =>
      registry.onStream("fail", async function* () {
        yield await Promise.resolve({ head: 1 });
        throw new MailError({ code: "DISK_FULL" });
      }),
    );
    const got: unknown[] = [];
    const reading = (async () => {
      for await (const { head } of peer.stream("fail", 0, { signal })) got.push(head);
    })();
    await expect(reading).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(got).toEqual([1]);
  });

  test("stops its producer while the consumer does not read", async () => {
    let produced = 0;
    const peer = await members.peerWith((registry) =>
      registry.onStream("big", async function* () {
        for (; produced < 100; produced++) {
          yield await Promise.resolve({ head: produced, body: Buffer.alloc(128 * 1024) });
        }
      }),
    );
    const items = peer.stream("big", 0, { signal })[Symbol.asyncIterator]();
    expect((await items.next()).value).toMatchObject({ head: 0 });
    await until(() => produced >= 7, "the window is used");
    // A round trip on the same link: whatever the producer may send has been sent.
    for (let turn = 0; turn < 20; turn++) {
      await peer.call("none", 0, { signal }).catch(() => undefined);
    }
    expect(produced).toBeLessThanOrEqual(11);
    let last: unknown;
    for (;;) {
      const next = await items.next();
      if (next.done === true) break;
      last = (next.value as RpcReply).head;
    }
    expect(last).toBe(99);
  });

  test("that the consumer leaves closes the producer", async () => {
    let closed = false;
    const peer = await members.peerWith((registry) =>
      registry.onStream("endless", async function* () {
        try {
          for (let n = 0; ; n++) yield await Promise.resolve({ head: n, body: Buffer.alloc(1000) });
        } finally {
          closed = true;
        }
      }),
    );
    for await (const { head } of peer.stream("endless", 0, { signal })) {
      if (head === 5) break;
    }
    await until(() => closed, "the producer is closed");
  });

  test("that is cancelled while idle ends with UNAVAILABLE, and the handler's signal aborts", async () => {
    const requests: RpcRequest[] = [];
    const peer = await members.peerWith((registry) =>
      registry.onStream("idle", async function* (request) {
        requests.push(request);
        yield { head: 0 };
        await new Promise((resolve) => {
          request.signal.addEventListener("abort", resolve);
        });
      }),
    );
    const controller = new AbortController();
    const items = peer.stream("idle", 0, { signal: controller.signal })[Symbol.asyncIterator]();
    await items.next();
    const next = items.next();
    controller.abort();
    await expect(next).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await until(() => requests[0]?.signal.aborted === true, "the handler is told");
  });

  test("of a method that is no stream is INVALID", async () => {
    const peer = await members.peerWith((registry) => registry.onCall("one", () => ({ head: 1 })));
    await expect(collect(peer.stream("one", 0, { signal }))).rejects.toMatchObject({
      code: "INVALID",
    });
  });
});

describe("an upload", () => {
  test("arrives whole, in pieces, and is answered", async () => {
    const peer = await members.peerWith((registry) =>
      registry.onUpload("sum", async ({ head }, chunks) => {
        let bytes = 0;
        let sum = 0;
        for await (const chunk of chunks) {
          bytes += chunk.length;
          sum += chunk[0] ?? 0;
        }
        return { head: [head, bytes, sum] };
      }),
    );
    const reply = await peer.upload("sum", "x", bytesOf(20_000_000, 100_000), { signal });
    const sum = Array.from({ length: 200 }, (_, index) => index).reduce((a, b) => a + b, 0);
    expect(reply.head).toEqual(["x", 20_000_000, sum]);
    const whole = await peer.upload("sum", "y", bytesOf(3_000_000, 3_000_000), { signal });
    expect(whole.head).toEqual(["y", 3_000_000, 0]);
  });

  test("that is refused early stops its source and rejects", async () => {
    let closed = false;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield await Promise.resolve(Buffer.alloc(100_000));
      } finally {
        closed = true;
      }
    }
    const peer = await members.peerWith((registry) =>
      registry.onUpload("full", async (_request, chunks) => {
        for await (const chunk of chunks) {
          if (chunk.length > 0) throw new MailError({ code: "DISK_FULL" });
        }
        return { head: 0 };
      }),
    );
    await expect(peer.upload("full", 0, endless(), { signal })).rejects.toMatchObject({
      code: "DISK_FULL",
    });
    await until(() => closed, "the source is closed");
  });

  test("whose source fails rejects with that error, and the handler's chunks end with an error", async () => {
    const errors: unknown[] = [];
    const peer = await members.peerWith((registry) =>
      registry.onUpload("take", async (_request, chunks) => {
        try {
          await collect(chunks);
        } catch (error) {
          errors.push(error);
        }
        return { head: 0 };
      }),
    );
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(Buffer.alloc(10));
      throw new Error("the source broke");
    }
    await expect(peer.upload("take", 0, failing(), { signal })).rejects.toThrow("the source broke");
    await until(() => errors.length === 1, "the handler is told");
    expect(errors[0]).toMatchObject({ code: "UNAVAILABLE" });
  });

  test("stops its source while the handler does not read", async () => {
    let produced = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for (; produced < 100; produced++) yield await Promise.resolve(Buffer.alloc(128 * 1024));
    }
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const peer = await members.peerWith((registry) =>
      registry.onUpload("slow", async (_request, chunks) => {
        await gate;
        return { head: (await collect(chunks)).length };
      }),
    );
    const upload = peer.upload("slow", 0, source(), { signal });
    await until(() => produced >= 8, "the window is used");
    for (let turn = 0; turn < 20; turn++) {
      await peer.call("none", 0, { signal }).catch(() => undefined);
    }
    expect(produced).toBeLessThanOrEqual(11);
    go();
    expect((await upload).head).toBe(100);
  });
});

describe("a one-way frame", () => {
  test("arrives, in order with calls", async () => {
    const seen: unknown[] = [];
    const peer = await members.peerWith((registry) => {
      registry.onSend("note", ({ head, body }) => seen.push([head, body?.length]));
      registry.onCall("seen", () => ({ head: seen }));
    });
    peer.send("note", 1);
    peer.send("note", 2, Buffer.alloc(5));
    expect((await peer.call("seen", 0, { signal })).head).toEqual([
      [1, undefined],
      [2, 5],
    ]);
  });
});

describe("load figures", () => {
  test("come with replies, the newest is kept, and not with each", async () => {
    let asked = 0;
    const registry = new MethodRegistry();
    registry.onCall("one", () => ({ head: 1 }));
    const loadFigures = (): unknown => ({ cpu: (asked += 1) });
    const listening = await members.server(registry, { loadFigures });
    const { links } = members.manager(listening.port);
    const peer = links.peer(server);
    await whenUp(peer, AbortSignal.timeout(5000));
    await Promise.all(Array.from({ length: 50 }, () => peer.call("one", 0, { signal })));
    expect(links.loads().get(server)).toEqual({ cpu: 1 });
    await until(() => {
      peer.call("one", 0, { signal }).catch(() => undefined);
      return asked > 1;
    }, "they are sent again");
    await peer.call("one", 0, { signal });
    expect(links.loads().get(server)).toMatchObject({ cpu: asked });
  });
});
