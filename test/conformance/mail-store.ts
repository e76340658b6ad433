// One suite for every MailStore: what mail-store.ts promises and protocol code relies on. Local
// store, routed store and fake run it as it is. Timing, durability and failover are other suites'.

import { afterAll, beforeAll, describe } from "vitest";
import { accessTests } from "./mail-store-access.ts";
import { annotationTests } from "./mail-store-annotations.ts";
import { changesTests } from "./mail-store-changes.ts";
import { fetchTests } from "./mail-store-fetch.ts";
import { flagsTests } from "./mail-store-flags.ts";
import type { MailStoreFixture } from "./mail-store-kit.ts";
import { mailboxTests } from "./mail-store-mailboxes.ts";
import { messageTests } from "./mail-store-messages.ts";
import { modelTests } from "./mail-store-model.ts";
import { searchTests } from "./mail-store-search.ts";
import { sortTests } from "./mail-store-sort.ts";
import { spoolTests } from "./mail-store-spool.ts";
import { transferTests } from "./mail-store-transfer.ts";

export interface SuiteOptions {
  /** Runs of the comparison with the fake; slow stores take fewer. */
  readonly modelRuns?: number;
}

/** Gives the fixture of the running tests; throws outside of them. */
export type Fixture = () => MailStoreFixture;

/** Declares the suite; `start` runs once for all its tests, which use accounts of their own. */
export function mailStoreConformance(
  name: string,
  start: () => Promise<MailStoreFixture>,
  options: SuiteOptions = {},
): void {
  describe(name, () => {
    let fixture: MailStoreFixture | undefined;
    beforeAll(async () => {
      fixture = await start();
    });
    afterAll(async () => {
      await fixture?.close();
    });
    const use: Fixture = () => {
      if (fixture === undefined) throw new Error("the store didn't start");
      return fixture;
    };
    accessTests(use);
    mailboxTests(use);
    messageTests(use);
    annotationTests(use);
    spoolTests(use);
    changesTests(use);
    fetchTests(use);
    flagsTests(use);
    transferTests(use);
    searchTests(use);
    sortTests(use);
    modelTests(use, options.modelRuns ?? 100);
  });
}
