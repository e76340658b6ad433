// The dialogues of test/dialogues/pop3, each against a fresh listener with three messages.

import { afterEach, expect, test } from "vitest";
import { dialogueNames, runDialogueFile } from "../../support/dialogue.ts";
import { startPop3Server } from "../../support/pop3-server.ts";
import type { Pop3Server } from "../../support/pop3-server.ts";
import { testSecureContext } from "../../support/test-certificate.ts";

const messages = [
  "Subject: one\r\n\r\nfirst line\r\nsecond line\r\nthird line\r\n",
  "Subject: dots\r\n\r\n.\r\n..two\r\na.b\r\n.end",
  "Subject: bare\r\n\r\none\ntwo\n",
];

let server: Pop3Server | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const names = dialogueNames("pop3");

test("there are dialogues", () => {
  expect(names.length).toBeGreaterThan(10);
});

test.each(names.filter((name) => !name.startsWith("tls-")))("%s", async (name) => {
  server = await startPop3Server({ messages });
  await runDialogueFile("pop3", name, { port: server.port });
});

test.each(names.filter((name) => name.startsWith("tls-")))("%s", async (name) => {
  const secureContext = await testSecureContext();
  server = await startPop3Server({ messages, secureContext, plaintextLogin: false });
  await runDialogueFile("pop3", name, { port: server.port });
});
