// Logins at a gateway: what opens, what doesn't, what it costs, and what an attacker can learn.

import { describe, expect, test, vi } from "vitest";
import { DirectoryAuthenticator } from "../../../src/cluster/directory/authenticator.ts";
import { HashQueue } from "../../../src/cluster/directory/hash-queue.ts";
import { hashPassword } from "../../../src/cluster/directory/password.ts";
import { TokenVerifier } from "../../../src/cluster/directory/token-verifier.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import type { DirectoryRow, NameLookup } from "../../../src/mail/account.ts";
import { accountId, shardId } from "../../../src/mail/ids.ts";
import { MailError } from "../../../src/mail/errors.ts";
import { until, weakHash } from "../../support/directory/directory-cluster.ts";

const signal = new AbortController().signal;
const aliceHash = await hashPassword("secret", weakHash);

class Setting {
  readonly clock = new SimulatedClock();
  readonly rows = new Map<string, DirectoryRow>();
  fresh = true;
  unsure = false;
  asked = 0;
  current: DirectoryRow | undefined;
  readonly replaced: string[] = [];
  readonly log = { error: vi.fn(), warn: vi.fn(), info: vi.fn(), debug: vi.fn() };
  readonly auth: DirectoryAuthenticator;

  constructor(
    options: { readonly queueMax?: number; readonly ageMs?: number; readonly tokens?: true } = {},
  ) {
    this.put({});
    this.auth = new DirectoryAuthenticator({
      directory: {
        lookupNow: (name) => this.#lookup(name),
        byAccount: () => Promise.resolve(undefined),
        isFresh: () => this.fresh,
      },
      domains: ["example.test", "other.test"],
      clock: this.clock,
      log: this.log,
      hash: weakHash,
      secret: Buffer.alloc(32),
      ...(options.tokens === undefined
        ? {}
        : { tokens: new TokenVerifier({ loginClaim: "sub", cacheMs: 1 }, this.clock) }),
      queueMax: options.queueMax ?? 10,
      cache: { most: 10, ageMs: options.ageMs ?? 60_000 },
      guessesPerMinute: 20,
      atOnce: 1,
      currentRow: () => {
        this.asked++;
        return Promise.resolve(this.current);
      },
      replaceHash: (_row, hash) => {
        this.replaced.push(hash);
        return Promise.resolve();
      },
    });
  }

  put(change: Partial<DirectoryRow>): DirectoryRow {
    const row: DirectoryRow = {
      account: accountId(7),
      shard: shardId(1),
      name: "alice@example.test",
      aliases: ["a@example.test"],
      state: "active",
      credentials: { hash: aliceHash },
      credVersion: 1,
      userVersion: 1,
      overQuota: false,
      ...change,
    };
    for (const name of [row.name, ...row.aliases, "@example.test"]) this.rows.set(name, row);
    return row;
  }

  #lookup(name: string): NameLookup {
    if (this.unsure) return { kind: "unsure" };
    const row = this.rows.get(name) ?? this.rows.get(name.slice(name.indexOf("@")));
    return row === undefined ? { kind: "none" } : { kind: "found", row };
  }

  async login(login: string, password: string, address = "192.0.2.1"): Promise<string> {
    return (await this.auth.verify(login, password, address, signal)).kind;
  }
}

describe("a login", () => {
  test.each(["alice", "ALICE@Example.TEST", "alice@example.test", "a@example.test"])(
    "as %s opens with the right password only",
    async (login) => {
      const setting = new Setting();
      expect(await setting.login(login, "secret")).toBe("ok");
      expect(await setting.login(login, "Secret")).toBe("refused");
    },
  );

  test.each(["bob", "bob@example.test", "alice@other.test", "@example.test", "", "a b@c", "@"])(
    "as %j is refused, catch-all or not",
    async (login) => {
      expect(await new Setting().login(login, "secret")).toBe("refused");
    },
  );

  test("of a disabled account says so after the right password alone", async () => {
    const setting = new Setting();
    setting.put({ state: "disabled" });
    expect(await setting.login("alice", "wrong")).toBe("refused");
    expect(await setting.login("alice", "secret")).toBe("disabled");
    expect(await setting.login("alice", "secret")).toBe("disabled");
  });

  test("is put off while the directory can't tell", async () => {
    const setting = new Setting();
    setting.unsure = true;
    expect(await setting.login("alice", "secret")).toBe("unavailable");
  });

  test("with a password of a megabyte costs no hash and is refused", async () => {
    expect(await new Setting().login("alice", "x".repeat(1_000_000))).toBe("refused");
  });
});

describe("the verified cache", () => {
  test("ends with a change of the password", async () => {
    const setting = new Setting();
    expect(await setting.login("alice", "secret")).toBe("ok");
    expect(setting.auth.figures.verified).toBe(1);
    setting.put({ credentials: { hash: await hashPassword("new", weakHash) }, credVersion: 2 });
    expect(await setting.login("alice", "secret")).toBe("refused");
    expect(await setting.login("alice", "new")).toBe("ok");
  });

  test("ends with its age", async () => {
    const setting = new Setting({ ageMs: 1000 });
    expect(await setting.login("alice", "secret")).toBe("ok");
    setting.put({ credentials: { hash: "unreadable" } });
    expect(await setting.login("alice", "secret")).toBe("ok");
    setting.clock.advance(1000);
    expect(await setting.login("alice", "secret")).toBe("refused");
  });
});

describe("a row that may be old", () => {
  test("is asked for once when the password is wrong, and the newer one decides", async () => {
    const setting = new Setting();
    setting.fresh = false;
    setting.current = setting.put({});
    expect(await setting.login("alice", "new")).toBe("refused");
    expect(setting.asked).toBe(1);
    const newer = { credentials: { hash: await hashPassword("new", weakHash) }, credVersion: 2 };
    setting.current = { ...setting.current, ...newer };
    expect(await setting.login("alice", "new")).toBe("ok");
    expect(setting.asked).toBe(2);
    expect(await setting.login("alice", "secret")).toBe("ok"); // The node refuses its credVersion.
    expect(setting.asked).toBe(2);
  });

  test("that is fresh is not asked for", async () => {
    const setting = new Setting();
    expect(await setting.login("alice", "wrong")).toBe("refused");
    expect(setting.asked).toBe(0);
  });
});

/** What becomes of four more guesses than are free: the last one would have to wait too long. */
const threeHeldBack = ["refused", "refused", "refused", "unavailable"];

describe("guessing", () => {
  test("is slowed down, then turned away, and never for loopback", async () => {
    const setting = new Setting();
    for (let guess = 0; guess < 20; guess++) {
      expect(await setting.login("alice", `wrong ${guess}`)).toBe("refused");
    }
    const waiting = Array.from({ length: 4 }, () => setting.login("alice", "wrong"));
    await until(() => setting.auth.figures.delayed === 3);
    expect(await setting.login("alice", "wrong", "127.0.0.1")).toBe("refused");
    expect(await setting.login("alice", "secret", "::1")).toBe("ok");
    setting.clock.advance(10_000);
    expect((await Promise.all(waiting)).toSorted()).toEqual(threeHeldBack);
  });

  test("from elsewhere does not keep out who was here before", async () => {
    const setting = new Setting({ ageMs: 1 });
    expect(await setting.login("alice", "secret", "198.51.100.1")).toBe("ok");
    setting.clock.advance(10);
    for (let guess = 0; guess < 19; guess++) {
      expect(await setting.login("alice", `wrong ${guess}`, `192.0.2.${guess}`)).toBe("refused");
    }
    const held = [
      setting.login("alice", "x", "192.0.2.98"),
      setting.login("alice", "y", "192.0.2.99"),
    ];
    await until(() => setting.auth.figures.delayed > 0);
    expect(await setting.login("alice", "secret", "198.51.100.1")).toBe("ok");
    setting.clock.advance(10_000);
    expect(await Promise.all(held)).toEqual(["refused", "refused"]);
  });

  test("costs the same for a name that nobody has", async () => {
    const setting = new Setting();
    const time = async (login: string): Promise<number> => {
      const started = performance.now();
      await setting.login(login, "wrong", "127.0.0.1");
      return performance.now() - started;
    };
    // In turn, and the fastest of many: other work on the machine costs both the same.
    let [known, unknown] = [Infinity, Infinity];
    for (let turn = 0; turn < 100; turn++) {
      known = Math.min(known, await time("alice"));
      unknown = Math.min(unknown, await time("nobody@other.test"));
    }
    expect(unknown).toBeGreaterThan(known / 4);
    expect(known).toBeGreaterThan(unknown / 4);
  });
});

describe("bearer tokens", () => {
  test("that are wrong are slowed down as passwords are, for their own address alone", async () => {
    const setting = new Setting({ tokens: true });
    const kindFrom = async (address: string): Promise<string> =>
      (await setting.auth.verifyToken(undefined, "no token", address, signal)).kind;
    for (let guess = 0; guess < 20; guess++) expect(await kindFrom("192.0.2.1")).toBe("refused");
    const waiting = Array.from({ length: 4 }, () => kindFrom("192.0.2.1"));
    await until(() => setting.auth.figures.delayed === 3);
    expect(await kindFrom("198.51.100.1")).toBe("refused");
    setting.clock.advance(10_000);
    expect((await Promise.all(waiting)).toSorted()).toEqual(threeHeldBack);
  });
});

describe("an imported hash", () => {
  test("is replaced by argon2id at the first good login, and only then", async () => {
    const setting = new Setting();
    const ssha = "{SSHA}KnpQ4g1j1OR0Fb9Lksze2BcmJdZhYmNkMTIzNA==";
    setting.put({ credentials: { hash: ssha } });
    expect(await setting.login("alice", "wrong")).toBe("refused");
    expect(setting.replaced).toEqual([]);
    expect(await setting.login("alice", "secret")).toBe("ok");
    await until(() => setting.replaced.length === 1);
    expect(setting.replaced[0]).toMatch(/^\$argon2id\$/);
  });
});

describe("the hash queue", () => {
  test("refuses what is too much and forgets who gave up", async () => {
    const queue = new HashQueue(1, 1);
    let release: () => void = () => undefined;
    const first = queue.run(
      () =>
        new Promise<void>((resolve) => {
          release = resolve;
        }),
      signal,
    );
    const stop = new AbortController();
    const second = queue.run(() => Promise.resolve("second"), stop.signal);
    await expect(queue.run(() => Promise.resolve(), signal)).rejects.toThrow(MailError);
    stop.abort();
    await expect(second).rejects.toThrow(MailError);
    const third = queue.run(() => Promise.resolve("third"), signal);
    release();
    await first;
    expect(await third).toBe("third");
    expect(queue.waiting).toBe(0);
  });

  test("that is full makes logins unavailable, not refused", async () => {
    const setting = new Setting({ queueMax: 0 });
    const both = await Promise.all([
      setting.login("alice", "secret"),
      setting.login("alice", "secret", "192.0.2.9"),
    ]);
    expect(both.toSorted()).toEqual(["ok", "unavailable"]);
  });
});
