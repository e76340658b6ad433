// PROXY headers in front of IMAP and POP3: who counts as the client, with and without TLS.

import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import { defaultPop3Limits } from "../../../src/gateway/pop3/limits.ts";
import { startPop3 } from "../../../src/gateway/pop3/listener.ts";
import type { GatewayServices, Listener } from "../../../src/gateway/services.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { testSecureContext } from "../../support/test-certificate.ts";

interface Options {
  readonly services: GatewayServices;
  readonly implicitTls: boolean;
  readonly trustedProxies: readonly string[];
}
const place = { address: "127.0.0.1", port: 0 };
const protocols = [
  [
    "imap",
    (options: Options) => startImap({ ...place, ...options }),
    "a LOGIN u1 secret\r\n",
    "a OK",
  ],
  [
    "pop3",
    (options: Options) => startPop3({ limits: defaultPop3Limits, ...place, ...options }),
    "USER u1\r\nPASS secret\r\n",
    "+OK 0 messages",
  ],
] as const;

let listener: Listener | undefined;
afterEach(async () => {
  await listener?.close(AbortSignal.abort());
  listener = undefined;
});

const header = "PROXY TCP4 203.0.113.7 192.0.2.1 40000 143\r\n";

describe.each(protocols)("%s", (_name, start, login, answer) => {
  /** Services that note the address of each login. */
  async function listen(
    implicitTls: boolean,
    trustedProxies: readonly string[],
  ): Promise<{ readonly port: number; readonly seen: string[] }> {
    const seen: string[] = [];
    const fake = fakeServices({ secureContext: await testSecureContext() });
    fake.store.addAccount("u1@pabal.test");
    const auth: GatewayServices["auth"] = {
      ...fake.auth,
      verify: (name, password, address, signal) => {
        seen.push(address);
        return fake.auth.verify(name, password, address, signal);
      },
    };
    listener = await start({ services: { ...fake, auth }, implicitTls, trustedProxies });
    return { port: listener.port, seen };
  }

  test("the header of a listed network says who the client is, whatever the chunks", async () => {
    const { port, seen } = await listen(false, ["127.0.0.0/8"]);
    for (const cut of [0, 7, header.length]) {
      const text = header + login;
      expect(await talk(port, [text.slice(0, cut), text.slice(cut)], answer)).toContain(answer);
    }
    expect(seen).toEqual(["203.0.113.7", "203.0.113.7", "203.0.113.7"]);
  });

  test("TLS begins behind the header", async () => {
    const { port, seen } = await listen(true, ["127.0.0.1"]);
    const plain = connect({ port, host: "127.0.0.1" });
    await once(plain, "connect");
    plain.write(header);
    const secure = connectTls({ socket: plain, rejectUnauthorized: false });
    await once(secure, "secureConnect");
    secure.write(login);
    expect(await heard(secure, answer)).toContain(answer);
    expect(seen).toEqual(["203.0.113.7"]);
    plain.destroy();
  });

  test("a listed peer without a header speaks for itself", async () => {
    const { port, seen } = await listen(false, ["127.0.0.0/8"]);
    expect(await talk(port, [login], answer)).toContain(answer);
    expect(seen).toEqual(["127.0.0.1"]);
  });

  test("nobody else's header counts", async () => {
    const { port, seen } = await listen(false, ["192.0.2.0/24"]);
    expect(await talk(port, [header + login], answer)).toContain(answer);
    expect(seen).toEqual(["127.0.0.1"]);
  });

  test("a broken header ends the connection, and an open one does not hold up the end", async () => {
    const { port, seen } = await listen(false, ["127.0.0.0/8"]);
    expect(await talk(port, ["PROXY TCP4 nonsense\r\n", login], "never")).toBe("");
    const silent = connect({ port, host: "127.0.0.1" });
    await once(silent, "connect");
    silent.write("PROXY TC");
    silent.on("error", () => undefined);
    await listener?.close(AbortSignal.abort());
    listener = undefined;
    silent.destroy();
    expect(seen).toEqual([]);
  });
});

/** Sends the pieces and gives what was said until `answer` or the end. */
async function talk(port: number, pieces: readonly string[], answer: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  for (const piece of pieces) {
    if (piece === "") continue;
    await new Promise<void>((done) => {
      socket.write(piece, () => done());
    });
    await setImmediate();
  }
  try {
    return await heard(socket, answer);
  } finally {
    socket.destroy();
  }
}

async function heard(socket: ReturnType<typeof connect>, answer: string): Promise<string> {
  let text = "";
  socket.on("error", () => undefined);
  for await (const chunk of socket) {
    text += String(chunk);
    if (text.includes(answer)) break;
  }
  return text;
}
