// Many clients on one mailbox over the fake store; the same runs over the local store in
// test/conformance. A failure names its seed.

import { describe, expect, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { runSessions } from "./model-run.ts";
import { seedAccount } from "./support.ts";

describe("several sessions on one mailbox", () => {
  test.each([1, 2, 3, 4, 5, 6])("seed %i", async (seed) => {
    const services = fakeServices();
    const who = await seedAccount(services);
    const listener = await startImap({
      services,
      address: "127.0.0.1",
      port: 0,
      implicitTls: false,
    });
    try {
      await expect(runSessions(services, who, [listener.port], seed, 50)).resolves.toBeUndefined();
    } finally {
      await listener.close(AbortSignal.abort());
    }
  });
});
