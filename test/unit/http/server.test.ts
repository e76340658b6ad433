// HTTP of a member: health, readiness, metrics, and what a hostile client may do to it.

import { connect } from "node:net";
import { once } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { rawExchange, startTestServer, type TestServer } from "./support.ts";

let server: TestServer | undefined;
afterEach(async () => {
  await server?.close(AbortSignal.abort());
  server = undefined;
});

describe("health and readiness", () => {
  test("a member that misses something is alive and not ready, and says what it misses", async () => {
    server = await startTestServer();
    server.missing = ["coordinator"];
    const ready = await fetch(`${server.url}/readyz`);
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { ready: false, missing: ["coordinator"] },
    ]);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    server.missing = [];
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  });

  test("a member without an admin API has none of its paths", async () => {
    server = await startTestServer({ admin: false });
    for (const path of ["/admin/v1/users", "/admin/v1/status", "/nothing"]) {
      expect((await fetch(server.url + path)).status).toBe(404);
    }
    expect((await fetch(`${server.url}/metrics`)).status).toBe(200);
  });

  test("a wrong method is answered 405 with the right ones", async () => {
    server = await startTestServer();
    const response = await fetch(`${server.url}/healthz`, { method: "POST", body: "x" });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect((await fetch(`${server.url}/healthz`, { method: "HEAD" })).status).toBe(200);
  });
});

describe("a hostile client", () => {
  test("a head over the limit gets 431", async () => {
    server = await startTestServer();
    const answer = await rawExchange(server.port, [
      "GET /healthz HTTP/1.1\r\nHost: x\r\n",
      `X-Long: ${"a".repeat(20_000)}\r\n\r\n`,
    ]);
    expect(answer).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("no HTTP at all gets 400, and the server lives on", async () => {
    server = await startTestServer();
    expect(await rawExchange(server.port, ["EHLO x\r\n\r\n\u0000\u0001\r\n"])).toMatch(
      /^HTTP\/1\.1 400 /,
    );
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  test("a head that never ends is given up", async () => {
    server = await startTestServer({ limits: { headersMs: 150, requestMs: 150 } });
    const answer = await rawExchange(server.port, ["GET /healthz HTTP/1.1\r\nHost: x\r\n"]);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("a body that never ends is given up", async () => {
    server = await startTestServer({ limits: { headersMs: 150, requestMs: 200 } });
    const answer = await rawExchange(server.port, [
      "POST /admin/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-of-the-tests\r\n",
      "Content-Length: 1000\r\n\r\n{",
    ]);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("connections above the limit are dropped", async () => {
    server = await startTestServer({ limits: { connectionsMax: 1 } });
    const first = connect(server.port, "127.0.0.1");
    await once(first, "connect");
    first.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(first, "data");
    expect(await rawExchange(server.port, ["GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])).toBe("");
    first.destroy();
  });
});

describe("closing", () => {
  test("waits for the answer under way and then for nobody", async () => {
    server = await startTestServer();
    let release: (value: unknown) => void = () => {};
    server.status = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    const asked = fetch(`${server.url}/admin/v1/status`, {
      headers: { authorization: "Bearer a-token-of-the-tests" },
    });
    await expect.poll(() => release.length).toBe(1);
    const closed = server.close(AbortSignal.timeout(5000));
    release({ cluster: "late" });
    expect(await (await asked).json()).toEqual({ cluster: "late" });
    await closed;
  });

  test("ends an answer that takes too long", async () => {
    server = await startTestServer();
    let asked = false;
    server.status = () => {
      asked = true;
      return new Promise(() => {});
    };
    const outcome = fetch(`${server.url}/admin/v1/status`, {
      headers: { authorization: "Bearer a-token-of-the-tests" },
    }).then(
      () => "answered",
      () => "cut",
    );
    await expect.poll(() => asked).toBe(true);
    await server.close(AbortSignal.abort());
    expect(await outcome).toBe("cut");
  });
});
