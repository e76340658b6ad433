// IMAP over the local store on a real disk: dialogues, and many sessions checked against their models.
// Front-end and store agree on the contract.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startImap } from "../../src/gateway/imap/listener.ts";
import type { Listener } from "../../src/gateway/services.ts";
import { dialogueNames, runDialogueFile } from "../support/dialogue.ts";
import { localServices } from "../support/local-services.ts";
import type { LocalServices } from "../support/local-services.ts";
import { runSessions } from "../unit/imap/model-run.ts";
import { seedMessages } from "../unit/imap/support.ts";

let local: LocalServices;
let listener: Listener;

beforeEach(async () => {
  local = await localServices();
  await seedMessages(local.services, local.who);
  listener = await startImap({
    services: local.services,
    address: "127.0.0.1",
    port: 0,
    implicitTls: false,
  });
});
afterEach(async () => {
  await listener.close(AbortSignal.abort());
  await local.close();
});

describe("imap over the local store", () => {
  const names = dialogueNames("imap").filter((name) => !name.startsWith("tls-"));
  test.each(names)("%s", async (name) => {
    const variables = await runDialogueFile("imap", name, { port: listener.port });
    expect(variables).toBeDefined();
  });

  test.each([1, 2, 3])("several sessions on one mailbox, seed %i", async (seed) => {
    await runSessions(local.services, local.who, listener.port, seed, 40);
  });
});
