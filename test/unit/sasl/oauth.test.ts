// Bearer tokens: how clients give them, and what of a token is believed.

import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterEach, describe, expect, test } from "vitest";
import type { AuthVerdict } from "../../../src/cluster/directory/directory.ts";
import { TokenVerifier } from "../../../src/cluster/directory/token-verifier.ts";
import type { TokenOptions } from "../../../src/cluster/directory/token-verifier.ts";
import { startSasl } from "../../../src/gateway/sasl/exchange.ts";
import type { SaslStep } from "../../../src/gateway/sasl/exchange.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { passwordsOnly } from "../../support/fake-services.ts";

const never = new AbortController().signal;
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function provider(
  answer: (path: string, body: string, authorization: string) => { status: number; json: unknown },
): Promise<{ readonly url: string; readonly asked: () => number }> {
  let asked = 0;
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      asked++;
      const { status, json } = answer(request.url ?? "", body, request.headers.authorization ?? "");
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(json));
    });
  });
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, asked: () => asked };
}

function verifier(options: Partial<TokenOptions>): TokenVerifier {
  return new TokenVerifier({ loginClaim: "email", cacheMs: 60_000, ...options }, systemClock);
}

describe("introspection", () => {
  const clientSecret = "a:b c";
  const inspect = (claims: object, status = 200) =>
    provider((_path, body, authorization) => {
      expect(new URLSearchParams(body).get("token")).toBe("abc");
      expect(authorization).toBe(`Basic ${Buffer.from("pabal:a%3Ab%20c").toString("base64")}`);
      return { status, json: claims };
    });

  test("an active token is whose it says, and is asked about once", async () => {
    const { url, asked } = await inspect({ active: true, email: "u1@pabal.test" });
    const tokens = verifier({ introspection: { url, clientId: "pabal", clientSecret } });
    expect(tokens.known("abc")).toBeUndefined();
    expect(await tokens.verify("abc", never)).toEqual({ kind: "ok", login: "u1@pabal.test" });
    expect(tokens.known("abc")).toBe("u1@pabal.test");
    expect(await tokens.verify("abc", never)).toEqual({ kind: "ok", login: "u1@pabal.test" });
    expect(asked()).toBe(1);
  });

  test.each([
    [{ active: false, email: "u1@pabal.test" }, "refused"],
    [{ active: "true", email: "u1@pabal.test" }, "refused"],
    [{ active: true }, "refused"],
    [{ active: true, email: 7 }, "refused"],
    [{ active: true, email: "u1@pabal.test", exp: 1 }, "refused"],
    [[], "unavailable"],
  ])("%j is %s", async (claims, kind) => {
    const { url } = await inspect(claims);
    const tokens = verifier({ introspection: { url, clientId: "pabal", clientSecret } });
    expect((await tokens.verify("abc", never)).kind).toBe(kind);
  });

  test("the scope that is wanted must be there", async () => {
    const { url } = await inspect({ active: true, email: "u1@pabal.test", scope: "mail openid" });
    const introspection = { url, clientId: "pabal", clientSecret };
    expect((await verifier({ introspection, scope: "mail" }).verify("abc", never)).kind).toBe("ok");
    expect((await verifier({ introspection, scope: "ma" }).verify("abc", never)).kind).toBe(
      "refused",
    );
  });

  test("a provider that fails is no refusal", async () => {
    const { url } = await inspect({}, 500);
    const introspection = { url, clientId: "pabal", clientSecret };
    expect((await verifier({ introspection }).verify("abc", never)).kind).toBe("unavailable");
    const gone = { ...introspection, url: "http://127.0.0.1:1/" };
    expect((await verifier({ introspection: gone }).verify("abc", never)).kind).toBe("unavailable");
  });

  test("what is no token is not asked about", async () => {
    const { url, asked } = await inspect({ active: true });
    const tokens = verifier({ introspection: { url, clientId: "pabal", clientSecret } });
    expect((await tokens.verify("a b", never)).kind).toBe("refused");
    expect((await tokens.verify("x".repeat(20_000), never)).kind).toBe("refused");
    expect(asked()).toBe(0);
  });
});

describe("signed tokens", () => {
  test("are checked by the published keys, for issuer, audience, time and algorithm", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const other = await generateKeyPair("ES256");
    const jwk = { ...(await exportJWK(publicKey)), kid: "k1", alg: "ES256" };
    const { url } = await provider(() => ({ status: 200, json: { keys: [jwk] } }));
    const tokens = verifier({ jwks: { url, issuer: "https://id.test", audience: "pabal" } });
    const make = (change: (token: SignJWT) => SignJWT, key = privateKey): Promise<string> =>
      change(
        new SignJWT({ email: "u1@pabal.test" })
          .setProtectedHeader({ alg: "ES256", kid: "k1" })
          .setIssuer("https://id.test")
          .setAudience("pabal")
          .setExpirationTime("5m"),
      ).sign(key);
    const kindOf = async (token: string) => (await tokens.verify(token, never)).kind;
    expect(await kindOf(await make((token) => token))).toBe("ok");
    expect(await kindOf(await make((token) => token, other.privateKey))).toBe("refused");
    expect(await kindOf(await make((token) => token.setIssuer("https://evil.test")))).toBe(
      "refused",
    );
    expect(await kindOf(await make((token) => token.setAudience("web")))).toBe("refused");
    expect(await kindOf(await make((token) => token.setExpirationTime("-5m")))).toBe("refused");
    const head = Buffer.from('{"alg":"none"}').toString("base64url");
    const body = Buffer.from('{"email":"u1@pabal.test"}').toString("base64url");
    expect(await kindOf(`${head}.${body}.`)).toBe("refused");
  });
});

describe("the mechanisms", () => {
  const row = { name: "u1@pabal.test" } as Extract<AuthVerdict, { kind: "ok" }>["row"];
  const given: (readonly [string | undefined, string])[] = [];
  const begin = (mechanism: "OAUTHBEARER" | "XOAUTH2") => {
    const facts = {
      auth: {
        ...passwordsOnly(() => Promise.resolve({ kind: "refused" as const })),
        verifyToken: (login: string | undefined, token: string): Promise<AuthVerdict> => {
          given.push([login, token]);
          return Promise.resolve(token === "good" ? { kind: "ok", row } : { kind: "refused" });
        },
      },
      address: "192.0.2.1",
      binding: () => undefined,
      bindingOffered: false,
      signal: never,
    };
    const { exchange } = startSasl(mechanism, facts);
    return (said: string): Promise<SaslStep> => exchange.respond(Buffer.from(said));
  };

  test("OAUTHBEARER as in RFC 7628 §4.1", async () => {
    const say = begin("OAUTHBEARER");
    const first =
      "n,a=user@example.com,\u0001host=server.example.com\u0001port=143\u0001" +
      "auth=Bearer good\u0001\u0001";
    expect(await say(first)).toMatchObject({ kind: "verdict", verdict: { kind: "ok" } });
    expect(given.at(-1)).toEqual(["user@example.com", "good"]);
  });

  test("a refused token is told, and answered with %x01 before the refusal", async () => {
    const say = begin("OAUTHBEARER");
    const challenge = await say("n,,\u0001auth=Bearer bad\u0001\u0001");
    expect(challenge.kind).toBe("challenge");
    expect(await say("\u0001")).toMatchObject({ kind: "verdict", verdict: { kind: "refused" } });
    const other = begin("XOAUTH2");
    await other("user=u1\u0001auth=Bearer bad\u0001\u0001");
    expect(await other("")).toMatchObject({ kind: "verdict", verdict: { kind: "refused" } });
  });

  test("XOAUTH2", async () => {
    const say = begin("XOAUTH2");
    expect(await say("user=u1@pabal.test\u0001auth=Bearer good\u0001\u0001")).toMatchObject({
      verdict: { kind: "ok" },
    });
  });

  test.each([
    "",
    "n,,",
    "n,,\u0001\u0001",
    "n,,\u0001auth=Basic good\u0001\u0001",
    "n,,\u0001auth=Bearer good\u0001",
    "user=u1\u0001auth=Bearer good\u0001\u0001",
  ])("%j is malformed", async (said) => {
    expect((await begin("OAUTHBEARER")(said)).kind).toBe("malformed");
  });
});
