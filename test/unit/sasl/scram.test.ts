// SCRAM at the server, by the example of RFC 7677 §3 and by what can go wrong.

import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AuthVerdict } from "../../../src/cluster/directory/directory.ts";
import { madeUpKeys, makeScram, parseScram } from "../../../src/cluster/directory/scram-keys.ts";
import type { ScramKeys } from "../../../src/cluster/directory/scram-keys.ts";
import type { SaslFacts, SaslStep } from "../../../src/gateway/sasl/exchange.ts";
import { scram } from "../../../src/gateway/sasl/scram.ts";
import { passwordsOnly } from "../../support/fake-services.ts";

const refused: AuthVerdict = { kind: "refused" };
const row = { name: "user@example.test" } as Extract<AuthVerdict, { kind: "ok" }>["row"];

function keysOf(password: string, salt: Buffer, iterations: number): ScramKeys {
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const clientKey = createHmac("sha256", salted).update("Client Key").digest();
  return {
    salt,
    iterations,
    storedKey: createHash("sha256").update(clientKey).digest(),
    serverKey: createHmac("sha256", salted).update("Server Key").digest(),
  };
}

function facts(keys: ScramKeys, more: Partial<SaslFacts> = {}): SaslFacts {
  return {
    auth: {
      ...passwordsOnly(() => Promise.resolve(refused)),
      scram: () =>
        Promise.resolve({
          kind: "keys",
          keys,
          settle: (right) => (right ? { kind: "ok", row } : refused),
        }),
    },
    address: "192.0.2.1",
    binding: (type) => (type === "tls-exporter" ? Buffer.from("the channel") : undefined),
    bindingOffered: true,
    signal: new AbortController().signal,
    ...more,
  };
}

const pencil = keysOf("pencil", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"), 4096);
const serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const clientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const clientFinal =
  "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
  "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

function text(step: SaslStep): string {
  return step.kind === "challenge" ? Buffer.from(step.bytes).toString() : step.kind;
}

/** A client that knows how; `change` spoils its last message. */
async function logIn(
  who: SaslFacts,
  options: {
    readonly plus?: boolean;
    readonly password?: string;
    readonly header?: string;
    readonly bound?: Buffer;
    readonly change?: (final: string) => string;
  } = {},
): Promise<SaslStep> {
  const { plus = false, password = "pencil", header = "n,,", bound = Buffer.alloc(0) } = options;
  const exchange = scram(who, plus);
  const bare = "n=user,r=abcdef";
  const first = await exchange.respond(Buffer.from(header + bare));
  if (first.kind !== "challenge") return first;
  const serverFirst = text(first);
  const [, nonce = "", salt = "", count = ""] =
    /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? [];
  const keys = pbkdf2Sync(password, Buffer.from(salt, "base64"), Number(count), 32, "sha256");
  const clientKey = createHmac("sha256", keys).update("Client Key").digest();
  const cbind = Buffer.concat([Buffer.from(header), bound]).toString("base64");
  const withoutProof = `c=${cbind},r=${nonce}`;
  const signature = createHmac("sha256", createHash("sha256").update(clientKey).digest())
    .update(`${bare},${serverFirst},${withoutProof}`)
    .digest();
  const proof = Buffer.from(clientKey.map((byte, at) => byte ^ (signature[at] ?? 0)));
  const final = `${withoutProof},p=${proof.toString("base64")}`;
  const proven = await exchange.respond(Buffer.from(options.change?.(final) ?? final));
  return proven.kind === "challenge" ? exchange.respond(Buffer.alloc(0)) : proven;
}

const ok = { kind: "verdict", login: "user", verdict: { kind: "ok", row } };
const wrong = { kind: "verdict", login: "user", verdict: refused };

describe("the example of RFC 7677", () => {
  test("gives the messages that stand there", async () => {
    const exchange = scram(facts(pencil), false, () => serverNonce);
    expect(text(await exchange.respond(Buffer.from(clientFirst)))).toBe(
      `r=rOprNGfwEbeRWgbNEkqO${serverNonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
    );
    expect(text(await exchange.respond(Buffer.from(clientFinal)))).toBe(
      "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    );
    expect(await exchange.respond(Buffer.alloc(0))).toEqual(ok);
  });
});

describe("a login", () => {
  test("with the wrong password, or a spoiled proof, is refused", async () => {
    expect(await logIn(facts(pencil), { password: "pen" })).toEqual(wrong);
    for (const change of [
      (final: string) => final.replace(/p=./, "p=A"),
      (final: string) => final.replace(/r=abc/, "r=abd"),
      (final: string) => final.replace(/c=biws/, "c=eSws"),
    ]) {
      const step = await logIn(facts(pencil), { change });
      expect(step.kind === "verdict" ? step.verdict.kind : step.kind).toBe("refused");
    }
  });

  test("of a name that nobody has looks the same and is refused", async () => {
    const keys = madeUpKeys(Buffer.from("secret"), "nobody", 4096);
    expect(keys.salt).toEqual(madeUpKeys(Buffer.from("secret"), "nobody", 4096).salt);
    expect(keys.salt).not.toEqual(madeUpKeys(Buffer.from("secret"), "nobody2", 4096).salt);
    expect(await logIn(facts(keys))).toEqual(wrong);
  });

  test("is bound to its channel by -PLUS, and to no other", async () => {
    const header = "p=tls-exporter,,";
    const bound = Buffer.from("the channel");
    expect(await logIn(facts(pencil), { plus: true, header, bound })).toEqual(ok);
    const other = Buffer.from("another channel");
    expect(await logIn(facts(pencil), { plus: true, header, bound: other })).toEqual(wrong);
    expect(await logIn(facts(pencil), { plus: true, header: "n,," })).toMatchObject({
      kind: "malformed",
    });
    expect(await logIn(facts(pencil), { plus: true, header: "p=tls-unique,," })).toMatchObject({
      kind: "malformed",
    });
    expect(await logIn(facts(pencil), { header })).toMatchObject({ kind: "malformed" });
  });

  test("of a client that was told there is no -PLUS is refused where there is", async () => {
    expect(await logIn(facts(pencil), { header: "y,," })).toEqual(wrong);
    expect(await logIn(facts(pencil, { bindingOffered: false }), { header: "y,," })).toEqual(ok);
  });

  test("for another user is forbidden", async () => {
    expect(await logIn(facts(pencil), { header: "n,a=other," })).toEqual({
      kind: "forbidden",
      login: "user",
    });
    expect(await logIn(facts(pencil), { header: "n,a=user," })).toEqual(ok);
  });
});

describe("what is no message of SCRAM", () => {
  test.each([
    "",
    "n,,",
    "n,,n=user",
    "x,,n=user,r=abc",
    "n,,m=ext,n=user,r=abc",
    "n,,n=us=er,r=abc",
    "n,,n=user,r=a b",
    "n,,n=user,r=",
    "n,,n=\0,r=abc",
    "n,,r=abc,n=user",
  ])("%j is malformed", async (said) => {
    expect(await scram(facts(pencil), false).respond(Buffer.from(said))).toMatchObject({
      kind: "malformed",
    });
  });

  test("any bytes at either place never throw and never log in", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 80 }), fc.boolean(), async (bytes, late) => {
        const exchange = scram(facts(pencil), false);
        if (late) await exchange.respond(Buffer.from(clientFirst));
        const step = await exchange.respond(bytes);
        if (step.kind === "verdict") expect(step.verdict).toEqual(refused);
        else expect(["malformed", "challenge"]).toContain(step.kind);
        if (late) expect(step.kind).not.toBe("challenge");
      }),
    );
  });
});

test("kept keys are read back, and nothing else is", async () => {
  const made = await makeScram("pencil", 4096);
  const keys = parseScram(made ?? "");
  expect(keys).toEqual(keysOf("pencil", keys?.salt ?? Buffer.alloc(0), 4096));
  expect(parseScram(`${made}x`)).toBeUndefined();
  expect(parseScram("SCRAM-SHA-256$1:AAAA$x:y")).toBeUndefined();
  expect(await makeScram("a\u0007b", 4096)).toBeUndefined();
});
