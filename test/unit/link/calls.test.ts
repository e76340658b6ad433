// Calls between two members over a real loopback link.

import { afterEach, describe, expect, test } from "vitest";
import { whenUp } from "../../../src/cluster/link/link-manager.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type { RpcReply, RpcRequest } from "../../../src/cluster/link/rpc.ts";
import { assert } from "../../../src/lib/assert.ts";
import type { AssertionFailure } from "../../../src/lib/assert.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { mailboxId } from "../../../src/mail/ids.ts";
import { Members, client, keepingLogger, never, server, until } from "./support.ts";

const members = new Members();
afterEach(() => members.close());

const signal = new AbortController().signal;

describe("a call", () => {
  test("of an unknown method is INVALID", async () => {
    const peer = await members.peerWith(() => undefined);
    await expect(peer.call("nothing", 1, { signal })).rejects.toMatchObject({
      failure: { code: "INVALID", why: "unknown method nothing" },
    });
  });

  test.each([
    { code: "NO_SUCH_MAILBOX", mailbox: "a/b" },
    { code: "OVER_QUOTA", limitBytes: 5 },
    { code: "MAILBOX_GONE", mailbox: mailboxId(7) },
    { code: "IN_USE" },
  ] as const)("rejects with the MailError its handler threw: $code", async (failure) => {
    const peer = await members.peerWith((registry) =>
      registry.onCall("fail", () => Promise.reject(new MailError(failure))),
    );
    const error: unknown = await peer.call("fail", 0, { signal }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(MailError);
    expect((error as MailError).failure).toEqual(failure);
  });

  test("whose handler has a bug is UNAVAILABLE, and the cause is logged there", async () => {
    const { log, lines } = keepingLogger();
    const peer = await members.peerWith(
      (registry) =>
        registry.onCall("bug", () => {
          throw new TypeError("oh");
        }),
      { server: { log } },
    );
    await expect(peer.call("bug", 0, { signal })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(lines.map(({ msg }) => msg)).toContain("request failed unexpectedly");
  });

  test("whose handler fails an assertion ends that process", async () => {
    const fatal: AssertionFailure[] = [];
    const peer = await members.peerWith(
      (registry) =>
        registry.onCall("bug", () => {
          assert(false, "pigs fly");
          return { head: 0 };
        }),
      { server: { fatal: (error) => fatal.push(error) } },
    );
    await expect(peer.call("bug", 0, { signal })).rejects.toThrow();
    expect(fatal.map(({ message }) => message)).toEqual(["pigs fly"]);
  });

  test("without an answer by its deadline is UNAVAILABLE, and the handler's signal aborts", async () => {
    const requests: RpcRequest[] = [];
    const peer = await members.peerWith((registry) =>
      registry.onCall("hang", (request) => {
        requests.push(request);
        return never();
      }),
    );
    await expect(peer.call("hang", 0, { signal, deadlineMs: 60 })).rejects.toMatchObject({
      failure: { code: "UNAVAILABLE", why: "no answer in time" },
    });
    await until(() => requests[0]?.signal.aborted === true, "the handler is told");
  });

  test("that is cancelled rejects at once, and the handler's signal aborts", async () => {
    const requests: RpcRequest[] = [];
    const peer = await members.peerWith((registry) =>
      registry.onCall("hang", (request) => {
        requests.push(request);
        return never();
      }),
    );
    const controller = new AbortController();
    const call = peer.call("hang", 0, { signal: controller.signal });
    await until(() => requests.length === 1, "it arrived");
    controller.abort();
    await expect(call).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await until(() => requests[0]?.signal.aborted === true, "the handler is told");
  });

  test("that is cancelled may end as it likes: nothing is logged as unexpected", async () => {
    const { log, lines } = keepingLogger();
    let ended = 0;
    const peer = await members.peerWith(
      (registry) => {
        registry.onCall("ends", async (request) => {
          await new Promise((resolve) => {
            request.signal.addEventListener("abort", resolve);
          });
          ended += 1;
          throw new Error("aborted");
        });
        registry.onCall("ping", () => ({ head: "pong" }));
      },
      { server: { log } },
    );
    await expect(peer.call("ends", 0, { signal, deadlineMs: 60 })).rejects.toThrow();
    await until(() => ended === 1, "the handler ends");
    expect((await peer.call("ping", 0, { signal })).head).toBe("pong");
    expect(lines.map(({ msg }) => msg)).not.toContain("request failed unexpectedly");
  });

  test("with an aborted signal is not sent", async () => {
    let asked = 0;
    const peer = await members.peerWith((registry) =>
      registry.onCall("count", () => ({ head: (asked += 1) })),
    );
    await expect(peer.call("count", 0, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    expect((await peer.call("count", 0, { signal })).head).toBe(1);
  });

  test("beyond the number allowed in flight is BUSY", async () => {
    const peer = await members.peerWith((registry) => registry.onCall("hang", () => never()), {
      manager: { limits: { requestsMax: 3 } },
    });
    const calls = [1, 2, 3].map((n) => peer.call("hang", n, { signal }).catch(() => undefined));
    await expect(peer.call("hang", 4, { signal })).rejects.toMatchObject({ code: "BUSY" });
    await members.close();
    await Promise.all(calls);
  });

  test("longer than a frame may be is LIMIT, and the link goes on", async () => {
    const peer = await members.peerWith((registry) => {
      registry.onCall("size", ({ body }) => ({ head: body?.length }));
      registry.onCall("huge", () => ({ head: 0, body: Buffer.alloc(1024 * 1024) }));
    });
    const body = Buffer.alloc(1024 * 1024);
    await expect(peer.call("size", 0, { body, signal })).rejects.toMatchObject({ code: "LIMIT" });
    await expect(peer.call("huge", 0, { signal })).rejects.toMatchObject({ code: "LIMIT" });
    const fitting = body.subarray(0, 1024 * 1024 - 100);
    expect((await peer.call("size", 0, { body: fitting, signal })).head).toBe(fitting.length);
  });

  test("carries heads and bodies of every size both ways, told from absent ones", async () => {
    const peer = await members.peerWith((registry) =>
      registry.onCall(
        "echo",
        ({ head, body }): RpcReply => (body === undefined ? { head } : { head, body }),
      ),
    );
    for (const size of [0, 1, 100, 4096, 16_384, 16_385, 70_000, 700_000]) {
      const body = Buffer.alloc(size, size);
      const reply = await peer.call("echo", { size }, { body, signal });
      expect(reply.head).toEqual({ size });
      expect(Buffer.compare(Buffer.from(reply.body ?? "none"), body)).toBe(0);
    }
    expect(await peer.call("echo", null, { signal })).toEqual({ head: null });
    const long = "x".repeat(200_000);
    expect((await peer.call("echo", long, { signal })).head).toBe(long);
    const nested = { a: [1, -1, 2 ** 40, 1.5, true, null], ["__proto__x"]: { b: "한글" } };
    expect((await peer.call("echo", nested, { signal })).head).toEqual(nested);
  });

  test("names the member that asks", async () => {
    const peer = await members.peerWith((registry) =>
      registry.onCall("who", ({ from }) => ({ head: from })),
    );
    expect((await peer.call("who", 0, { signal })).head).toBe(client);
  });

  test("one of many under way gets its own answer", async () => {
    const peer = await members.peerWith((registry) =>
      registry.onCall("later", async ({ head }) => {
        if (typeof head === "number" && head % 3 === 0) {
          await new Promise((resolve) => {
            setImmediate(resolve);
          });
        }
        return { head };
      }),
    );
    const wanted = Array.from({ length: 1000 }, (_, index) => index);
    const replies = await Promise.all(wanted.map((n) => peer.call("later", n, { signal })));
    expect(replies.map(({ head }) => head)).toEqual(wanted);
  });

  test("under way when the link breaks is UNAVAILABLE, and the handler's signal aborts", async () => {
    const requests: RpcRequest[] = [];
    const registry = new MethodRegistry();
    registry.onCall("hang", (request) => {
      requests.push(request);
      return never();
    });
    const listening = await members.server(registry);
    const { links } = members.manager(listening.port);
    const peer = links.peer(server);
    await whenUp(peer, AbortSignal.timeout(5000));
    const call = peer.call("hang", 0, { signal });
    await until(() => requests.length === 1, "it arrived");
    links.close();
    await expect(call).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await until(() => requests[0]?.signal.aborted === true, "the handler is told");
  });
});
