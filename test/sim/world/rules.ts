// Rules that a run may break on purpose, one at a time: each is broken from outside, by lying to a
// machine or by not doing what it says, so that production code has no switches. The table of what
// each stands for is in docs/simulation.md.

export const rules = [
  "lease",
  "leaseOfSyncing",
  "grace",
  "barrier",
  "commitOnAll",
  "minCopies",
  "fsyncBeforeAck",
  "fsyncOfSeal",
  "epochOfHeartbeat",
  "sealStopsGrants",
  "fromLsn",
  "wipedIsAnother",
  "cutOfTail",
  "replayToMark",
  "committedOnly",
  "fullOnly",
  "dedupe",
  "syncedIsComplete",
  "handOverIsFinal",
  "waitAfterRestart",
  "askFreezes",
  "secretKey",
  "replayWindow",
  "ringOfLife",
  "denyUnsure",
  "freshness",
  "tellGateways",
  "marksWhileServing",
  "tombstoneFirst",
  "floorOfRemoved",
  "resumeSagas",
  "directoryPower",
] as const;

export type Rule = (typeof rules)[number];
