// IMAP over the local store on a real disk and over the routed store of a small cluster: dialogues,
// and many sessions checked against their models. Front-end and stores agree on the contract.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startImap } from "../../src/gateway/imap/listener.ts";
import type { GatewayServices, Listener } from "../../src/gateway/services.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { dialogueNames, runDialogueFile } from "../support/dialogue.ts";
import { localServices } from "../support/local-services.ts";
import { routedServices } from "../support/routed-services.ts";
import { runSessions } from "../unit/imap/model-run.ts";
import { seedMessages } from "../unit/imap/support.ts";

interface Fixture {
  readonly services: GatewayServices;
  readonly who: Principal;
  close(): Promise<void>;
}

imapConformance("the local store", localServices);
imapConformance("the routed store", async () => {
  const routed = await routedServices(1);
  const [services] = routed.gateways;
  if (services === undefined) throw new Error("no gateway");
  return { services, who: routed.who, close: () => routed.close() };
});

function imapConformance(name: string, open: () => Promise<Fixture>): void {
  describe(`imap over ${name}`, () => {
    let fixture: Fixture;
    let listener: Listener;
    beforeEach(async () => {
      fixture = await open();
      await seedMessages(fixture.services, fixture.who);
      listener = await startImap({
        services: fixture.services,
        address: "127.0.0.1",
        port: 0,
        implicitTls: false,
      });
    });
    afterEach(async () => {
      await listener.close(AbortSignal.abort());
      await fixture.close();
    });

    const names = dialogueNames("imap").filter((each) => !each.startsWith("tls-"));
    test.each(names)("%s", async (dialogue) => {
      const variables = await runDialogueFile("imap", dialogue, { port: listener.port });
      expect(variables).toBeDefined();
    });

    test.each([1, 2, 3])("several sessions on one mailbox, seed %i", async (seed) => {
      await runSessions(fixture.services, fixture.who, [listener.port], seed, 40);
    });
  });
}
