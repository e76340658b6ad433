// Links as they come and go: greeting, refusals, reconnects, half-open and late ones, hostile bytes.

import { connect } from "node:net";
import type { Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { FrameDecoder, FrameWriter, frameType } from "../../../src/cluster/link/frame.ts";
import type { FrameType } from "../../../src/cluster/link/frame.ts";
import { encodeHello } from "../../../src/cluster/link/hello.ts";
import type { Hello } from "../../../src/cluster/link/hello.ts";
import { whenUp } from "../../../src/cluster/link/link-manager.ts";
import type { LinkServer } from "../../../src/cluster/link/link-server.ts";
import { exposedReason, isLoopback } from "../../../src/cluster/link/link-security.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type { RpcRequest } from "../../../src/cluster/link/rpc.ts";
import { packValue, unpackValue } from "../../../src/cluster/link/wire-value.ts";
import { memberId } from "../../../src/mail/ids.ts";
import { startRelay } from "../../support/relay.ts";
import {
  Members,
  client,
  cluster,
  describeSelf,
  keepingLogger,
  never,
  server,
  until,
} from "./support.ts";

const members = new Members();
afterEach(() => members.close());

const signal = new AbortController().signal;
const soon = (): AbortSignal => AbortSignal.timeout(5000);

function echo(): MethodRegistry {
  const registry = new MethodRegistry();
  registry.onCall("echo", ({ head }) => ({ head }));
  return registry;
}

describe("greeting", () => {
  test("with another cluster is refused, and both ends log why", async () => {
    const here = keepingLogger();
    const there = keepingLogger();
    const self = { ...describeSelf(server), cluster: "other" };
    const listening = await members.server(echo(), { self, log: there.log });
    const { links } = members.manager(listening.port, { log: here.log });
    const peer = links.outgoing(server);
    await until(() => here.lines.some(({ msg }) => msg === "link refused"), "our log");
    expect(here.lines.find(({ msg }) => msg === "link refused")?.why).toContain('"test"');
    expect(there.lines.find(({ msg }) => msg === "link refused")?.why).toContain('"test"');
    expect(peer.up).toBe(false);
    await expect(peer.call("echo", 1, { signal })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("of another member than the one dialled is refused", async () => {
    const { log, lines } = keepingLogger();
    const listening = await members.server(echo(), { self: describeSelf(memberId("n9")) });
    const { links } = members.manager(listening.port, { log });
    links.peer(server);
    await until(() => lines.some(({ msg }) => msg === "link refused"), "our log");
    expect(lines.find(({ msg }) => msg === "link refused")?.why).toContain('"n9"');
  });

  test.each([
    [
      "a version too new",
      { version: 9, oldest: 8 },
      /wire versions 8 to 9 .*: upgrade this member/,
    ],
    ["a version too old", { version: 0, oldest: 0 }, /wire versions 0 to 0 .*: upgrade g1/],
  ])("of %s is refused in words", async (_what, versions, words) => {
    const listening = await members.server(echo());
    const raw = await dialRaw(listening);
    raw.write(frameType.hello, packValue({ magic: "PABAL", ...hello(), ...versions }));
    await until(() => raw.frames.length > 0, "an answer");
    expect(raw.frames[0]?.type).toBe(frameType.error);
    expect(unpackValue(raw.frames[0]?.head ?? Buffer.alloc(0))).toMatchObject({
      why: expect.stringMatching(words) as unknown,
    });
    await until(() => raw.socket.destroyed, "the end");
  });

  test("of a newer version that still speaks ours, with unknown fields, is accepted", async () => {
    const listening = await members.server(echo());
    const raw = await dialRaw(listening);
    raw.write(
      frameType.hello,
      packValue({ magic: "PABAL", ...hello(), version: 7, oldest: 1, colour: "blue" }),
    );
    await until(() => raw.frames.length > 0, "an answer");
    expect(raw.frames[0]?.type).toBe(frameType.hello);
  });

  test("that does not come in time ends the connection", async () => {
    const listening = await members.server(echo(), { limits: { greetingMs: 50 } });
    const raw = await dialRaw(listening);
    await until(() => raw.socket.destroyed, "the end");
  });
});

describe("hostile bytes", () => {
  test.each<readonly [string, (raw: RawLink) => void]>([
    ["HTTP", (raw) => raw.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
    ["a first frame that is no HELLO", (raw) => raw.write(frameType.request, packValue(["a", 0]))],
    ["a HELLO that is no map", (raw) => raw.write(frameType.hello, packValue(5))],
    ["a HELLO without magic", (raw) => raw.write(frameType.hello, packValue({ ...hello() }))],
    ["a HELLO of 5 KiB", (raw) => raw.write(frameType.hello, Buffer.alloc(5000))],
    [
      "an unknown frame type",
      (raw) => raw.socket.write(Buffer.from("0000000719000000000000", "hex")),
    ],
  ])("%s before HELLO ends that connection only", async (_what, attack) => {
    const { log, lines } = keepingLogger();
    const listening = await members.server(echo(), { log });
    const raw = await dialRaw(listening);
    attack(raw);
    await until(() => raw.socket.destroyed, "the end");
    expect(lines.map(({ msg }) => msg)).toContain("connection is no member link");
    await serves(listening);
  });

  test.each<readonly [string, (raw: RawLink) => void]>([
    ["a request that is no array", (raw) => raw.write(frameType.request, packValue("x"), 1)],
    ["msgpack cut short", (raw) => raw.write(frameType.request, Buffer.from([0x93, 0xa1]), 1)],
    ["a nested bomb", (raw) => raw.write(frameType.request, Buffer.alloc(60_000, 0x91), 1)],
    ["an answer", (raw) => raw.write(frameType.reply, packValue([1]), 1)],
    [
      "credit that was not spent",
      (raw) => {
        raw.write(frameType.request, packValue(["wait", 1, 0]), 1);
        raw.write(frameType.credit, packValue(1e9), 1);
      },
    ],
    [
      "pieces without credit",
      (raw) => {
        raw.write(frameType.request, packValue(["take", 2, 0]), 1);
        for (let n = 0; n < 12; n++)
          raw.write(frameType.piece, Buffer.alloc(0), 1, Buffer.alloc(200_000));
      },
    ],
    [
      "a request id twice",
      (raw) => {
        raw.write(frameType.request, packValue(["wait", 1, 0]), 1);
        raw.write(frameType.request, packValue(["wait", 1, 0]), 1);
      },
    ],
  ])("%s after HELLO ends that link only, with a line in the log", async (_what, attack) => {
    const { log, lines } = keepingLogger();
    const registry = echo();
    registry.onStream("wait", async function* () {
      yield await never();
    });
    registry.onUpload("take", never);
    const listening = await members.server(registry, { log });
    const raw = await dialRaw(listening);
    raw.write(frameType.hello, encodeHello(hello()));
    attack(raw);
    await until(() => raw.socket.destroyed, "the end");
    await until(() => lines.some(({ why }) => why?.startsWith("malformed") === true), "the log");
    await serves(listening);
  });

  test("a broken msgpack extension in a request can not set prototypes", async () => {
    const listening = await members.server(echo());
    const raw = await dialRaw(listening);
    raw.write(frameType.hello, encodeHello(hello()));
    // ["echo", 0, {"__proto__": {"polluted": true}}]
    const key = Buffer.from("__proto__");
    const map = Buffer.concat([Buffer.from([0x81, 0xa9]), key, packValue({ polluted: true })]);
    const head = Buffer.concat([Buffer.from([0x93]), packValue("echo"), Buffer.from([0]), map]);
    raw.write(frameType.request, head, 1);
    await until(() => raw.frames.some(({ type }) => type === frameType.reply), "the reply");
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("a peer", () => {
  test("without an address is down, and links as soon as it is known", async () => {
    const listening = await members.server(echo());
    const { links, addresses } = members.manager(0);
    const peer = links.peer(server);
    await expect(peer.call("echo", 1, { signal })).rejects.toMatchObject({
      failure: { why: "no link to n1: address unknown" },
    });
    addresses.set(server, { host: "127.0.0.1", port: listening.port });
    await whenUp(peer, soon());
    expect((await peer.call("echo", 1, { signal })).head).toBe(1);
    expect(links.counters.up).toBe(1);
  });

  test("that restarts is linked again, and listeners hear of both", async () => {
    const listening = await members.server(echo());
    const { links } = members.manager(listening.port);
    const peer = links.peer(server);
    const heard: boolean[] = [];
    peer.onChange((up) => heard.push(up));
    await whenUp(peer, soon());
    const { port } = listening;
    await listening.close();
    await until(() => !peer.up, "down");
    await members.server(echo(), { port });
    await whenUp(peer, soon());
    expect(heard).toEqual([true, false, true]);
    expect((await peer.call("echo", 2, { signal })).head).toBe(2);
  });

  test("that moves to another address is dialled there", async () => {
    const one = await members.server(echo());
    const two = await members.server(echo());
    const { links, addresses } = members.manager(one.port);
    const peer = links.peer(server);
    await whenUp(peer, soon());
    addresses.set(server, { host: "127.0.0.1", port: two.port });
    await until(() => two.members.length === 1 && one.members.length === 0, "moved");
    await whenUp(peer, soon());
  });

  // The limits are 600 ms and a second (the other end gives up after two); the rest is for a busy machine.
  test.each([
    { swallowed: "all", withinMs: 2000, reason: /^silent for/ },
    { swallowed: "requests", withinMs: 1700, reason: /^it speaks and does not hear us$/ },
  ] as const)(
    "behind a link that swallows $swallowed is noticed, and what was asked fails",
    async ({ swallowed, withinMs, reason }) => {
      const listening = await members.server(echo());
      const relay = await startRelay(listening.port);
      members.onClose(() => relay.close());
      const { log, lines } = keepingLogger();
      const { links } = members.manager(relay.port, { log });
      const peer = links.peer(server);
      await whenUp(peer, soon());
      relay.swallow(swallowed);
      const startMs = performance.now();
      await expect(peer.call("echo", 1, { signal })).rejects.toMatchObject({ code: "UNAVAILABLE" });
      expect(performance.now() - startMs).toBeLessThan(withinMs);
      expect(lines.some(({ why }) => why !== undefined && reason.test(why))).toBe(true);
    },
  );

  test("that only takes, and never answers but to pings, stays linked", async () => {
    const listening = await members.server(echo());
    const { links } = members.manager(listening.port);
    const peer = links.outgoing(server);
    await whenUp(peer, soon());
    const endMs = performance.now() + 1500;
    while (performance.now() < endMs) {
      peer.send("nobody", 1, undefined);
      await new Promise((resolve) => {
        setTimeout(resolve, 10);
      });
    }
    expect(links.counters.opened).toBe(1);
  });

  test("that is silent but answers pings stays linked", async () => {
    const listening = await members.server(echo());
    const { links } = members.manager(listening.port);
    const peer = links.outgoing(server);
    await whenUp(peer, soon());
    const { framesIn } = links.counters;
    await until(() => links.counters.framesIn > framesIn + 5, "pongs");
    expect(links.counters.opened).toBe(1);
  });
});

describe("a second link of the same member", () => {
  test("ends the first before any of its requests is read", async () => {
    const requests: RpcRequest[] = [];
    const order: string[] = [];
    const registry = new MethodRegistry();
    registry.onCall("first", (request) => {
      requests.push(request);
      request.signal.addEventListener("abort", () => order.push("first aborted"));
      return never();
    });
    registry.onCall("second", () => {
      order.push("second asked");
      return { head: 0 };
    });
    const listening = await members.server(registry);
    const one = await dialRaw(listening);
    one.write(frameType.hello, encodeHello(hello({ serial: 1 })));
    one.write(frameType.request, packValue(["first", 0, 0]), 1);
    await until(() => requests.length === 1, "the first request");
    const two = await dialRaw(listening);
    two.write(frameType.hello, encodeHello(hello({ serial: 2 })));
    two.write(frameType.request, packValue(["second", 0, 0]), 1);
    await until(() => order.length === 2, "both");
    expect(order).toEqual(["first aborted", "second asked"]);
    await until(() => one.socket.destroyed, "the end of the first");
    expect(two.socket.destroyed).toBe(false);
  });

  test.each([
    ["dialled earlier by the same process", { serial: 4 }],
    ["of an earlier process", { boot: "bb", incarnation: 2, serial: 9 }],
  ])("%s, late, is refused and harms nothing", async (_what, late) => {
    const listening = await members.server(echo());
    const good = await dialRaw(listening);
    good.write(frameType.hello, encodeHello(hello({ serial: 5, incarnation: 3 })));
    await until(() => good.frames.length === 1, "greeted");
    const stale = await dialRaw(listening);
    stale.write(frameType.hello, encodeHello(hello({ incarnation: 3, ...late })));
    await until(() => stale.socket.destroyed, "the end");
    expect(stale.frames[0]?.type).toBe(frameType.error);
    good.write(frameType.request, packValue(["echo", 0, 1]), 1);
    await until(() => good.frames.some(({ type }) => type === frameType.reply), "the reply");
  });

  test("with another purpose lives beside the first", async () => {
    const listening = await members.server(echo());
    const data = await dialRaw(listening);
    data.write(frameType.hello, encodeHello(hello({ serial: 1 })));
    const clock = await dialRaw(listening);
    clock.write(frameType.hello, encodeHello(hello({ serial: 2, purpose: "clock" })));
    await until(() => clock.frames.length + data.frames.length === 2, "both greeted");
    expect(listening.members).toEqual([client, client]);
  });
});

describe("plaintext", () => {
  test.each([
    ["127.0.0.1", true],
    ["127.8.9.1", true],
    ["::1", true],
    ["::ffff:127.0.0.1", true],
    ["10.0.0.1", false],
    ["::ffff:10.0.0.1", false],
    ["128.0.0.1", false],
    [undefined, false],
  ])("from %s counts as loopback: %s", (address, expected) => {
    expect(isLoopback(address)).toBe(expected);
  });

  test("is refused when one end is not loopback", () => {
    const socket = { localAddress: "10.0.0.1", remoteAddress: "127.0.0.1" } as Socket;
    expect(exposedReason(socket)).toContain("configure TLS");
  });
});

interface RawLink {
  readonly socket: Socket;
  readonly frames: { type: FrameType; id: number; head: Uint8Array }[];
  write(type: FrameType, head: Uint8Array, id?: number, body?: Uint8Array): void;
}

/** A connection on which the test speaks the frames itself. */
async function dialRaw(listening: LinkServer): Promise<RawLink> {
  const socket = connect({ host: "127.0.0.1", port: listening.port });
  members.onClose(() => {
    socket.destroy();
  });
  const frames: RawLink["frames"] = [];
  const decoder = new FrameDecoder((type, id, head) => {
    frames.push({ type, id, head });
  });
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => decoder.push(chunk));
  await new Promise<void>((resolve) => {
    socket.once("connect", resolve);
  });
  return {
    socket,
    frames,
    write: (type, head, id = 0, body) => {
      const writer = new FrameWriter();
      writer.add(type, id, head, body);
      for (const chunk of writer.take()) socket.write(chunk);
    },
  };
}

function hello(change: Partial<Hello> = {}): Omit<Hello, "version" | "oldest"> {
  return {
    cluster,
    member: client,
    role: "gateway",
    incarnation: 1,
    purpose: "data",
    boot: "aa",
    serial: 1,
    ...change,
  };
}

/** The server still answers a member. */
async function serves(listening: LinkServer): Promise<void> {
  const { links } = members.manager(listening.port, { self: describeSelf(memberId("g7")) });
  const peer = links.peer(server);
  await whenUp(peer, soon());
  expect((await peer.call("echo", "still here", { signal })).head).toBe("still here");
}
