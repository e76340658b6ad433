// Every dialogue of test/dialogues/imap against the front-end over the fake store.

import { afterAll, beforeAll, describe, test } from "vitest";
import { startImap } from "../../../src/gateway/imap/listener.ts";
import { dialogueNames, runDialogueFile } from "../../support/dialogue.ts";
import { fakeServices } from "../../support/fake-services.ts";
import { testSecureContext } from "../../support/test-certificate.ts";
import { seedAccount } from "./support.ts";

type SecureContext = Awaited<ReturnType<typeof testSecureContext>>;
let secureContext: SecureContext;
const stopped = new AbortController();

beforeAll(async () => {
  secureContext = await testSecureContext();
});
afterAll(() => stopped.abort());

describe("imap dialogues", () => {
  test.each(dialogueNames("imap"))("%s", async (name) => {
    const tls = name.startsWith("tls-");
    const services = fakeServices(tls ? { secureContext, plaintextLogin: false } : {});
    await seedAccount(services);
    const listener = await startImap({
      services,
      address: "127.0.0.1",
      port: 0,
      implicitTls: name.startsWith("tls-implicit"),
    });
    try {
      await runDialogueFile("imap", name, {
        port: listener.port,
        implicitTls: name.startsWith("tls-implicit"),
      });
    } finally {
      await listener.close(AbortSignal.abort());
    }
  });
});
