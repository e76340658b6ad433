// Hashes of other servers, made with their own tools, and what can't be taken over.

import { describe, expect, test } from "vitest";
import {
  hashPassword,
  importableHash,
  isOutdated,
  verifyPassword,
} from "../../../src/cluster/directory/password.ts";
import { weakHash } from "../../support/directory/directory-cluster.ts";

const ofSecret = [
  await hashPassword("secret", weakHash),
  `{ARGON2ID}${await hashPassword("secret", weakHash)}`,
  "{SSHA}KnpQ4g1j1OR0Fb9Lksze2BcmJdZhYmNkMTIzNA==",
  "{SSHA256}ws2ucYGdo6LNMvH4cYjd+zKl0vtpviWXutwzBW+DYpxhYmNkMTIzNA==",
  "{SSHA512}ifusMrPjAjPRHlLhpnySiHwr4byXXCi1xsiCcqLkYjFrJvTOugixmnRDepN9qDcIfQelTEeSDv1PVmcoT1r+XmFiY2QxMjM0",
  "$pbkdf2-sha256$1000$YWJjZDEyMzQ$AD7zaBfkKss9gkWyYZVbZEni/ZFrTq7P687nFFIsWEs",
  "pbkdf2_sha256$1000$abcd1234$AD7zaBfkKss9gkWyYZVbZEni/ZFrTq7P687nFFIsWEs=",
  "$scrypt$ln=10,r=8,p=1$YWJjZDEyMzQ$Ha27e/uLgw7Kd2Z3BC0Pnd3LiZZylGqaCOY4M3J5cZ8",
  "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
  "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
  "$6$rounds=1234$abcdefghijklmnop$IHxJU1//aPNjHJ/dTsgfYDQ8x53Qf934gbfExKhFjSUfeLhnxh5Qjre4cx8Z1herK1vKT7cjNCB8ULVND1/Q./",
  "{SHA256-CRYPT}$5$rounds=1000$x$MwH1x3tv6pfJx.FrwforYF3VY24cFP1kjo6fe/LdghD",
];

describe("a hash of another server", () => {
  test.each(ofSecret)("%s opens with its password only", async (hash) => {
    expect(importableHash(hash)).toBeUndefined();
    expect(await verifyPassword(hash, "secret")).toBe(true);
    expect(await verifyPassword(hash, "Secret")).toBe(false);
    expect(await verifyPassword(hash, "")).toBe(false);
  });

  // From the test vectors of crypt_blowfish 1.3 and of jBCrypt.
  test.each([
    ["$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"],
    ["{BLF-CRYPT}$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"],
    ["$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e", "\u00ff\u00ff\u00a3"],
  ])("by bcrypt opens %s", async (hash, password) => {
    expect(importableHash(hash)).toBeUndefined();
    expect(await verifyPassword(hash, `${password}x`)).toBe(false);
    const same = await verifyPassword(hash, password);
    // The last vector is of bytes that are no UTF-8: text that looks alike must not open it.
    expect(same).toBe(!password.includes("\u00ff"));
  });

  test("by SHA-512 crypt takes long passwords in UTF-8", async () => {
    const hash =
      "$6$saltsalt$2ufn3IbSySwfI7sRD6x8OYLhn27gbk8ZFMbIEZEr5KWyJXt//ktL.sIlL6UK8g4RAAS/ptbihrbuHA12n2Bwj.";
    expect(await verifyPassword(hash, "비밀번호 ".repeat(12))).toBe(true);
  });

  test.each([
    ["$2y$10$N9qo8uLOickgx2ZMRZoMye", /bcrypt is taken/],
    ["$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", /bcrypt is taken/],
    ["$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", /cost 4 to 14/],
    ["$1$abcd$abcdefghijklmnopqrstuv", /weak/],
    ["{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", /weak/],
    ["{PLAIN}secret", /in clear/],
    ["secret", /unknown/],
    ["", /unknown/],
    ["$6$rounds=999999999$x$" + "a".repeat(86), /unknown/],
    ["$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", /unknown/],
    ["$pbkdf2-sha256$9999999$YWJjZDEyMzQ$AD7zaBfkKss9gkWyYZVbZEni/ZFrTq7P687nFFIsWEs", /unknown/],
    ["$scrypt$ln=30,r=8,p=1$YWJjZDEyMzQ$Ha27e/uLgw7Kd2Z3BC0Pnd3LiZZylGqaCOY4M3J5cZ8", /unknown/],
    ["x".repeat(2000), /longer/],
  ])("%s is not taken over, and why is said", async (hash, why) => {
    expect(importableHash(hash)).toMatch(why);
    expect(await verifyPassword(hash, "secret")).toBe(false);
  });
});

test("our own hash opens however the password is composed", async () => {
  const hash = await hashPassword("각".normalize("NFD"), weakHash);
  expect(await verifyPassword(hash, "각".normalize("NFC"))).toBe(true);
  expect(await verifyPassword(hash, "각".normalize("NFD"))).toBe(true);
});

test("only argon2id of at least our strength is up to date", () => {
  const [own = "", , ssha = ""] = ofSecret;
  expect(isOutdated(own, weakHash)).toBe(false);
  expect(isOutdated(own, { memoryBytes: 16 * 1024, passes: 1 })).toBe(true);
  expect(isOutdated(ssha, weakHash)).toBe(true);
});
