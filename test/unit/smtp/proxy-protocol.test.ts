// PROXY headers of both versions: parsed at any split, believed from listed networks only.
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import {
  parseProxyHeader,
  plainAddress,
  type ProxyParse,
  TrustedNetworks,
} from "../../../src/gateway/proxy-protocol.ts";
import { LineClient } from "../../support/line-client.ts";
import {
  deliver,
  readReply,
  say,
  startTestSmtp,
  type TestSmtp,
  type TestSmtpOptions,
} from "./support.ts";

const signature = "\r\n\r\n\0\r\nQUIT\n";

function version2(command: number, family: number, body: Buffer): Buffer {
  const head = Buffer.from(`${signature}\0\0\0\0`, "latin1");
  head.writeUInt8(command, 12);
  head.writeUInt8(family, 13);
  head.writeUInt16BE(body.length, 14);
  return Buffer.concat([head, body]);
}
const four = Buffer.from([192, 0, 2, 1, 10, 0, 0, 1, 0xd4, 0x31, 0, 25]);
const six = Buffer.concat([
  Buffer.from("20010db8000000000000000000000001", "hex"),
  Buffer.from("20010db8000000000000000000000002", "hex"),
  Buffer.from([0xd4, 0x31, 0, 25]),
]);
const tlvs = Buffer.from([0x03, 0, 4, 1, 2, 3, 4, 0x01, 0, 2, 0x68, 0x32]);

const good: readonly (readonly [string, Buffer, object])[] = [
  [
    "v1 TCP4",
    Buffer.from("PROXY TCP4 192.0.2.1 10.0.0.1 54321 25\r\n"),
    { kind: "proxied", address: "192.0.2.1", port: 54321 },
  ],
  [
    "v1 TCP6",
    Buffer.from("PROXY TCP6 2001:DB8:0::1 2001:db8::2 1 25\r\n"),
    { kind: "proxied", address: "2001:db8::1", port: 1 },
  ],
  ["v1 UNKNOWN", Buffer.from("PROXY UNKNOWN whatever comes\r\n"), { kind: "local" }],
  ["v2 TCP4", version2(0x21, 0x11, four), { kind: "proxied", address: "192.0.2.1", port: 54321 }],
  [
    "v2 TCP4 with TLVs",
    version2(0x21, 0x11, Buffer.concat([four, tlvs])),
    { kind: "proxied", address: "192.0.2.1", port: 54321 },
  ],
  [
    "v2 TCP6",
    version2(0x21, 0x21, Buffer.concat([six, tlvs])),
    { kind: "proxied", address: "2001:db8::1", port: 54321 },
  ],
  ["v2 LOCAL", version2(0x20, 0x00, tlvs), { kind: "local" }],
  ["v2 UNSPEC", version2(0x21, 0x00, Buffer.alloc(0)), { kind: "local" }],
  ["v2 Unix socket", version2(0x21, 0x31, Buffer.alloc(216)), { kind: "local" }],
];

describe("a PROXY header", () => {
  test.each(good)("%s is read whole, and not before", (_name, bytes, header) => {
    const input = Buffer.concat([bytes, Buffer.from("EHLO x\r\n")]);
    for (let length = 0; length < bytes.length; length++) {
      expect(parseProxyHeader(input.subarray(0, length))).toEqual({ state: "more" });
    }
    for (let length = bytes.length; length <= input.length; length++) {
      const expected: ProxyParse = {
        state: "header",
        header: header as never,
        bytes: bytes.length,
      };
      expect(parseProxyHeader(input.subarray(0, length))).toEqual(expected);
    }
  });

  test.each([
    "PROXY TCP4 192.0.2.256 10.0.0.1 1 25\r\n",
    "PROXY TCP4 2001:db8::1 10.0.0.1 1 25\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 65536 25\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 1 25 x\r\n",
    "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
    "PROXY UDP4 192.0.2.1 10.0.0.1 1 25\r\n",
    `PROXY UNKNOWN ${"x".repeat(100)}\r\n`,
    "PROXY TCP4 192.0.2.1\n10.0.0.1 1 25\r\n",
    `${signature}\x11\x11\0\x0c${four.toString("latin1")}`,
    `${signature}\x22\x11\0\x0c${four.toString("latin1")}`,
    `${signature}\x21\x11\0\x0b${four.toString("latin1")}`,
    `${signature}\x21\x21\0\x0c${four.toString("latin1")}`,
    `${signature}\x21\x11\xff\xff`,
  ])("%j is refused", (text) => {
    expect(parseProxyHeader(Buffer.from(text, "latin1")).state).toBe("bad");
  });

  test("other beginnings are none, and nothing makes the parser throw", () => {
    expect(parseProxyHeader(Buffer.from("EHLO"))).toEqual({ state: "none" });
    expect(parseProxyHeader(Buffer.from("PROXX"))).toEqual({ state: "none" });
    fc.assert(
      fc.property(fc.constantFrom("", "PROXY ", signature), fc.uint8Array(), (start, rest) => {
        const input = Buffer.concat([Buffer.from(start, "latin1"), rest]);
        const parsed = parseProxyHeader(input);
        if (parsed.state === "header") expect(parsed.bytes).toBeLessThanOrEqual(input.length);
      }),
    );
  });
});

describe("trusted networks", () => {
  const networks = new TrustedNetworks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);

  test.each([
    ["10.255.0.1", true],
    ["::ffff:10.1.1.1", true],
    ["192.0.2.7", true],
    ["192.0.2.8", false],
    ["2001:db8:1::9", true],
    ["2001:db9::9", false],
    ["::1", true],
    ["nonsense", false],
    [undefined, false],
  ])("%s: %s", (address, trusted) => {
    expect(networks.has(address)).toBe(trusted);
    expect(new TrustedNetworks([]).has(address)).toBe(false);
  });

  test.each(["10.0.0.0/33", "10.0.0/8", "::/129", "host", "10.0.0.0/8/9", "10.0.0.0/", ""])(
    "%j is refused",
    (network) => {
      expect(() => new TrustedNetworks([network])).toThrow(/not an address or network/);
    },
  );

  test("an address has one form", () => {
    expect(plainAddress("::FFFF:192.0.2.1")).toBe("192.0.2.1");
    expect(plainAddress("fe80::1%eth0")).toBe("fe80::1");
    expect(plainAddress("2001:DB8:0:0:0:0:0:1")).toBe("2001:db8::1");
  });
});

describe("an SMTP listener behind a proxy", () => {
  let smtp: TestSmtp;
  const start = async (options: TestSmtpOptions = {}): Promise<LineClient> => {
    smtp = await startTestSmtp({ trustedProxies: ["127.0.0.0/8"], ...options });
    return LineClient.connect({ port: smtp.port });
  };
  afterEach(() => smtp.close());

  const proxied = good.filter(([, , header]) => "address" in header);
  test.each(proxied)("takes the client's address from %s", async (_name, bytes, header) => {
    const client = await start();
    // In two pieces, and the greeting awaited only afterwards.
    client.send(bytes.subarray(0, 9));
    client.send(bytes.subarray(9));
    await readReply(client);
    await say(client, "EHLO client.example.org");
    await deliver(client, "Subject: x\r\n\r\n.\r\n");
    const { address } = header as { address: string };
    const shown = address.includes(":") ? `IPv6:${address}` : address;
    expect((await smtp.inbox())[0]).toContain(`from client.example.org ([${shown}])`);
  });

  test("greets a listed peer that sends none, and believes its XCLIENT once", async () => {
    const client = await start();
    await readReply(client);
    client.send("EHLO proxy.example.org\r\n");
    let xclient = "";
    for (let line = "250-"; line.startsWith("250-"); ) {
      line = await client.readLine();
      if (line.includes("XCLIENT")) xclient = line.slice(4);
    }
    expect(xclient).toBe("XCLIENT NAME ADDR PORT PROTO HELO");
    expect(await say(client, "XCLIENT LOGIN=u1@pabal.test")).toMatch(/^501 /);
    expect(await say(client, "XCLIENT ADDR=nonsense")).toMatch(/^501 /);
    await say(client, "MAIL FROM:<a@example.org>");
    expect(await say(client, "XCLIENT ADDR=192.0.2.9")).toMatch(/^503 5\.5\.1 /);
    await say(client, "RSET");
    expect(await say(client, "XCLIENT ADDR=IPv6:2001:db8::9 NAME=a.example.org")).toMatch(/^220 /);
    expect(await say(client, "MAIL FROM:<a@example.org>")).toMatch(/^503 5\.5\.1 EHLO first/);
    await say(client, "EHLO client.example.org");
    expect(await say(client, "XCLIENT ADDR=192.0.2.1")).toMatch(/^550 5\.7\.0 /);
    await deliver(client, "Subject: x\r\n\r\n.\r\n");
    expect((await smtp.inbox())[0]).toContain("([IPv6:2001:db8::9])");
  });

  test("counts connections by the client's address, also after STARTTLS", async () => {
    const client = await start({ limits: { connectionsPerAddressMax: 1 } });
    const header = "PROXY TCP4 192.0.2.1 10.0.0.1 1 25\r\n";
    client.send(header);
    await readReply(client);
    const second = await LineClient.connect({ port: smtp.port });
    second.send(header);
    expect(await readReply(second)).toMatch(/^421 4\.7\.0 More than 1 connections/);
    expect(await say(client, "STARTTLS")).toMatch(/^220 /);
    await client.startTls();
    await say(client, "EHLO client.example.org");
    expect(await say(client, "QUIT")).toMatch(/^221 /);
    await client.readEnd();
    client.close();
    let greeting = "421";
    while (greeting.startsWith("421")) {
      const third = await LineClient.connect({ port: smtp.port });
      third.send(header);
      greeting = await readReply(third);
    }
    expect(greeting).toMatch(/^220 /);
  });

  test("closes on a bad header, and on one from a peer that is not listed", async () => {
    const client = await start();
    client.send("PROXY TCP4 nonsense\r\n");
    await client.readEnd();
    await smtp.close();
    const stranger = await start({ trustedProxies: ["192.0.2.0/24"] });
    await readReply(stranger);
    expect(await say(stranger, "PROXY TCP4 192.0.2.1 10.0.0.1 1 25")).toMatch(/^421 5\.7\.0 /);
    expect(await stranger.readEnd().catch(() => "left open")).toBeUndefined();
  });

  test("TLS from the first byte comes behind the header", async () => {
    const client = await start({ tls: "implicit" });
    client.send("PROXY TCP4 192.0.2.1 10.0.0.1 1 465\r\n");
    await client.startTls();
    expect(await readReply(client)).toMatch(/^220 /);
  });
});
