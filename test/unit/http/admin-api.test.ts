// The admin API: who may call it, what it refuses, and what it never says.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MailError, type MailFailure } from "../../../src/mail/errors.ts";
import { rawExchange, startTestServer, type TestServer, token } from "./support.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(async () => {
  await server.close(AbortSignal.abort());
});
beforeEach(() => {
  server.accounts.accounts.clear();
  server.accounts.failure = undefined;
  server.status = () => Promise.resolve({ cluster: "test" });
});

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = { authorization: `Bearer ${token}` },
): Promise<{ status: number; body: unknown; text: string }> {
  const response = await fetch(`${server.url}/admin/v1${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? undefined : JSON.parse(text), text };
}

describe("the token", () => {
  test.each([
    ["none", {}],
    ["a wrong one", { authorization: "Bearer wrong" }],
    ["a longer one", { authorization: `Bearer ${token}x` }],
    ["an empty one", { authorization: "Bearer " }],
    ["Basic", { authorization: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` }],
    ["another scheme's case", { authorization: `bearer\t${token}` }],
  ])("%s is refused on every path", async (_name, headers) => {
    for (const [method, path] of [
      ["GET", "/status"],
      ["GET", "/users"],
      ["DELETE", "/users/u1@pabal.test"],
      ["GET", "/nothing"],
    ] as const) {
      expect((await call(method, path, undefined, headers)).status).toBe(401);
    }
  });

  test("without a token of its own the API is off", async () => {
    for (const own of [undefined, ""]) {
      const off = await startTestServer({ token: own });
      const headers = { authorization: `Bearer ${own ?? "undefined"}` };
      const response = await fetch(`${off.url}/admin/v1/users`, { headers });
      expect(response.status).toBe(404);
      await off.close(AbortSignal.abort());
    }
  });

  test("is checked before a body is read", async () => {
    const answer = await rawExchange(server.port, [
      "POST /admin/v1/users HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", // And never more.
    ]);
    expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  });
});

describe("bodies", () => {
  test.each([
    ["no JSON", "{", /no JSON/],
    ["an empty body", "", /no JSON/],
    ["a list", [], /expected object/],
    ["null", "null", /expected object/],
    ["no name", { password: "x" }, /^name: /],
    ["a number as the name", { name: 7 }, /^name: expected string/],
    ["an empty name", { name: "" }, /^name: /],
    ["a name without end", { name: "a".repeat(401) }, /^name: /],
    ["an empty password", { name: "a@pabal.test", password: "" }, /^password: /],
    ["a password without end", { name: "a@b", password: "x".repeat(1025) }, /^password: /],
    ["a negative quota", { name: "a@b", quotaBytes: -1 }, /^quotaBytes: /],
    ["half a byte", { name: "a@b", quotaBytes: 0.5 }, /^quotaBytes: /],
    ["a quota above 2^53", { name: "a@b", quotaBytes: 1e300 }, /^quotaBytes: /],
    ["too many aliases", { name: "a@b", aliases: Array(101).fill("x@b") }, /^aliases: /],
    ["an alias that is none", { name: "a@b", aliases: [1] }, /^aliases\.0: /],
    ["an unknown field", { name: "a@b", passwd: "x" }, /passwd/],
    ["a poisoned prototype", '{"name":"a@b","__proto__":{"x":1}}', /__proto__/],
  ])("%s is refused with 400 and the reason", async (_name, body, expected) => {
    const { status, body: answer } = await call("POST", "/users", body);
    expect(status).toBe(400);
    expect((answer as { message: string }).message).toMatch(expected);
    expect(server.accounts.accounts.size).toBe(0);
  });

  test("more than 4 MiB is refused by its length", async () => {
    const { status } = await call("POST", "/users", `"${"x".repeat(4 * 1024 * 1024)}"`);
    expect(status).toBe(413);
  });

  test("more than 4 MiB is refused without a length, before it all came", async () => {
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    const answer = await rawExchange(server.port, [
      `POST /admin/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n`,
      "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
      ...Array.from({ length: 70 }, () => chunk),
    ]);
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("an import of more than 1000 is refused", async () => {
    const users = Array.from({ length: 1001 }, (_, i) => ({ name: `x${i}@pabal.test` }));
    expect((await call("POST", "/users/import", { users })).status).toBe(400);
  });
});

describe("paths and methods", () => {
  test.each([
    ["PUT", "/users", "GET, POST"],
    ["DELETE", "/users", "GET, POST"],
    ["POST", "/status", "GET"],
    ["PUT", "/users/a@b", "GET, PATCH, DELETE"],
  ])("%s %s is answered 405", async (method, path, allow) => {
    const response = await fetch(`${server.url}/admin/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
    });
    expect([response.status, response.headers.get("allow")]).toEqual([405, allow]);
  });

  test("names arrive as they were, percent signs and slashes included", async () => {
    const name = "a/b%2f?c=d#e@pabal.test";
    await call("POST", "/users", { name, password: "x" });
    const { status, body } = await call("GET", `/users/${encodeURIComponent(name)}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ registration: { name } });
  });

  test.each(["%", "%00", "%ff%fe", "..%2f..", encodeURIComponent("사람@pabal.test")])(
    "an odd name %s is simply not there",
    async (name) => {
      expect((await call("GET", `/users/${name}`)).status).toBe(404);
    },
  );
});

describe("answers", () => {
  test("no answer has a hash", async () => {
    const name = "u1@pabal.test";
    const answers = [
      await call("POST", "/users", { name, password: "secret" }),
      await call("GET", "/users"),
      await call("GET", `/users/${name}`),
      await call("PATCH", `/users/${name}`, { disabled: true }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([201, 200, 200, 200]);
    for (const { text } of answers) expect(text).not.toMatch(/argon2id|credentials|secret/);
  });

  test.each<[MailFailure, number]>([
    [{ code: "NO_SUCH_ACCOUNT" }, 404],
    [{ code: "NAME_TAKEN", name: "x" }, 409],
    [{ code: "CONFLICT", why: "x" }, 409],
    [{ code: "INVALID", why: "x" }, 400],
    [{ code: "UNAVAILABLE", why: "x" }, 503],
    [{ code: "REPLICA_UNREACHABLE" }, 503],
    [{ code: "BUSY", what: "x" }, 503],
    [{ code: "DISK_FULL" }, 503],
    [{ code: "IN_USE" }, 500],
  ])("%j is answered %i", async (failure, status) => {
    server.accounts.failure = failure;
    const answer = await call("GET", "/users/x@pabal.test");
    expect([answer.status, (answer.body as { code: string }).code]).toEqual([status, failure.code]);
  });

  test("a request that takes too long is told to try again", async () => {
    server.accounts.failure = new DOMException("x", "TimeoutError");
    expect((await call("GET", "/users/x@pabal.test")).status).toBe(503);
  });

  test("our own bug is in the log with its stack and not in the answer", async () => {
    server.status = () => Promise.reject(new TypeError("secret internals"));
    const { status, text } = await call("GET", "/status");
    expect(status).toBe(500);
    expect(text).not.toMatch(/internals|at |\.ts/);
    expect(server.logged.join("")).toMatch(/secret internals/);
    expect(server.logged.join("")).not.toContain(token);
  });

  test("a MailError tells its code and no stack", async () => {
    server.accounts.failure = new MailError({ code: "DAMAGED", what: "row" });
    expect((await call("GET", "/users/x@pabal.test")).text).not.toMatch(/ at .*\.ts/);
  });
});
