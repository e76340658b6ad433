// SMTP listeners over the fake store: dialogues, and what ends up stored.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { SmtpKind } from "../../../src/gateway/smtp/context.ts";
import { defaultSmtpLimits } from "../../../src/gateway/smtp/limits.ts";
import { startSmtp } from "../../../src/gateway/smtp/start.ts";
import type { Listener } from "../../../src/gateway/services.ts";
import { runDialogueFile } from "../../support/dialogue.ts";
import { type FakeServices, fakeServices } from "../../support/fake-services.ts";
import { testSecureContext } from "../../support/test-certificate.ts";

const limits = { ...defaultSmtpLimits,
  messageBytesMax: 1_000_000,
  recipientsMax: 3,
  hopsMax: 50,
  badCommandsMax: 10,
  lineBytesMax: 2048,
  authLineBytesMax: 16_384,
  textLineBytesMax: 65_536,
  connectionsPerAddressMax: 50,
  commandTimeoutMs: 60_000,
  dataBytesPerMinuteMin: 100,
  bareNewlines: "normalise",
  greetingDelayMs: 0,
} as const;

let services: FakeServices;
let listener: Listener;

async function start(kind: SmtpKind): Promise<void> {
  listener = await startSmtp({ services, kind, limits, address: "127.0.0.1", port: 0, implicitTls: false });
}

beforeEach(async () => {
  services = fakeServices({ secureContext: await testSecureContext() });
  for (const name of ["u1@pabal.test", "u2@pabal.test"]) services.store.addAccount(name);
});
afterEach(async () => {
  await listener.close(AbortSignal.abort());
});

describe("an SMTP listener", () => {
  test("relay.txt", async () => {
    await start("relay");
    await runDialogueFile("smtp", "relay.txt", { port: listener.port });
    expect(listener.port).toBeGreaterThan(0);
  });
});
