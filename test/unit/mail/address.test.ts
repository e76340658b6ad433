// Envelope and directory addresses.

import { describe, expect, test } from "vitest";
import {
  cutTag,
  formatAddress,
  normaliseAddress,
  parseAddress,
  routingTrick,
  tagOf,
} from "../../../src/mail/address.ts";

describe("an address", () => {
  test.each([
    ["u1@pabal.test", "u1", "pabal.test"],
    ["First.Last+tag@Example.ORG", "First.Last+tag", "example.org"],
    ['"a b"@x.test', "a b", "x.test"],
    ['"a\\"@\\\\b"@x.test', 'a"@\\b', "x.test"],
    ["홍길동@한국.test", "홍길동", "xn--3e0b707e.test"],
    ["a@[192.0.2.1]", "a", "[192.0.2.1]"],
    ["a@[ipv6:2001:DB8::1]", "a", "[IPv6:2001:db8::1]"],
    ["a@localhost", "a", "localhost"],
    [`${"a".repeat(64)}@x.test`, "a".repeat(64), "x.test"],
  ])("%j is taken", (text, local, domain) => {
    expect(parseAddress(text)).toEqual({ local, domain });
    const again = formatAddress({ local, domain });
    expect(parseAddress(again)).toEqual({ local, domain });
  });

  test.each([
    "",
    "@",
    "a",
    "a@",
    "@b",
    "a@b@c",
    "a b@c",
    ".a@b",
    "a.@b",
    "a..b@c",
    '"a@b',
    '""@b',
    '"a"b@c',
    '"a\r\nb"@c',
    '"a\0"@c',
    "a\0@b",
    "a\r@b",
    "<a@b>",
    "a@b c",
    "a@-b.test",
    "a@b-.test",
    "a@b..c",
    "a@.b",
    "a@b.",
    "a@1.2.3.4",
    "a@0x7f.1",
    "a@[300.1.1.1]",
    "a@[x]",
    "a@[192.0.2.1",
    "a@[IPv6:fe80::1%eth0]",
    "a,b@c",
    "a@\ud800.test",
    `${"a".repeat(65)}@x`,
    `${"한".repeat(22)}@x`,
    `a@${"b".repeat(64)}.test`,
    `a@${"b.".repeat(130)}test`,
    "a".repeat(100_000),
  ])("%j is refused", (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  test("has one form in the directory", () => {
    expect(normaliseAddress("U1@Pabal.Test")).toBe("u1@pabal.test");
    expect(normaliseAddress('"u1"@pabal.test')).toBe("u1@pabal.test");
    expect(normaliseAddress("홍길동@한국.test".normalize("NFD"))).toBe("홍길동@xn--3e0b707e.test");
    expect(normaliseAddress('"A b"@x.test')).toBe('"a b"@x.test');
    expect(normaliseAddress("nobody")).toBeUndefined();
  });

  test("may have a tag", () => {
    expect(["user+tag", "user+a+b", "user", "+x", "user+"].map(cutTag)).toEqual([
      "user",
      "user",
      "user",
      "+x",
      "user",
    ]);
    expect(["user+a+b", "user", "+x"].map(tagOf)).toEqual(["a+b", undefined, undefined]);
  });

  test.each([
    ["@a,@b:c@d", "sourceRoute"],
    ["user%far@here", "percent"],
    ["far!user@here", "bang"],
    ['"user@far"@here', "quotedAt"],
    ["user@far@here", "quotedAt"],
    ["user@here", undefined],
    ["user", undefined],
  ])("%j uses the trick %s", (text, trick) => {
    expect(routingTrick(text)).toBe(trick);
  });
});
