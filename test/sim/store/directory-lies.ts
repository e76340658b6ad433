// How a run breaks a rule of the directory, from outside: by lies of the node's store, of clocks and of
// the gateway's disk.

import type { DirectoryStore } from "../../../src/cluster/directory/directory-store.ts";
import type { Epoch, ShardId } from "../../../src/mail/ids.ts";
import type { Rule } from "../world/rules.ts";

const freshnessMs = 1000;
/** How much later than it says a store removes an account. */
const lateMs = 1500;

/** For how long a gateway believes a mark. */
export function gatewayFreshnessMs(broken: Rule | undefined): number {
  return broken === "freshness" ? 1e9 : freshnessMs;
}

/** For how long a node takes it for granted that gateways do. */
export function nodeFreshnessMs(broken: Rule | undefined): number {
  return broken === "tellGateways" ? 0 : freshnessMs;
}

/** @param after runs work so much later, while the process lives */
export function bendDirectory(
  broken: Rule | undefined,
  store: DirectoryStore,
  after: (delayMs: number, work: () => void) => void,
): DirectoryStore {
  switch (broken) {
    case "marksWhileServing":
      return bent(store, { serving: everServing(store) });
    case "tombstoneFirst":
      return bent(store, {
        removeAccount: (...order) => {
          after(lateMs, () => void store.removeAccount(...order).catch(() => undefined));
          return Promise.resolve(0);
        },
      });
    case "floorOfRemoved":
      return bent(store, {
        removeAccount: async (...order) => {
          await store.removeAccount(...order);
          return 0;
        },
      });
    case "resumeSagas":
      return bent(store, {
        claimsAfter: async (...from) => {
          const claims = await store.claimsAfter(...from);
          return claims.map(({ task: _lost, ...claim }) => claim);
        },
        onChange: (listener) => {
          store.onChange((change) => {
            const claims = change.claims.map(({ task: _lost, ...claim }) => claim);
            listener({ ...change, claims });
          });
        },
      });
    default:
      return store;
  }
}

/** What was served once counts as served. */
function everServing(store: DirectoryStore): DirectoryStore["serving"] {
  const last = new Map<ShardId, Epoch>();
  return (shard) => {
    const epoch = store.serving(shard) ?? last.get(shard);
    if (epoch !== undefined) last.set(shard, epoch);
    return epoch;
  };
}

function bent(store: DirectoryStore, lies: Partial<DirectoryStore>): DirectoryStore {
  return {
    shards: () => store.shards(),
    serving: (shard) => store.serving(shard),
    appliedLsn: (shard) => store.appliedLsn(shard),
    accountCounter: (shard) => store.accountCounter(shard),
    claim: (...at) => store.claim(...at),
    claimsAfter: (...from) => store.claimsAfter(...from),
    writeClaims: (...write) => store.writeClaims(...write),
    registration: (...at) => store.registration(...at),
    rowsAfter: (...from) => store.rowsAfter(...from),
    quota: (...at) => store.quota(...at),
    highestUidValidity: (...at) => store.highestUidValidity(...at),
    createAccount: (...order) => store.createAccount(...order),
    changeAccount: (...order) => store.changeAccount(...order),
    removeAccount: (...order) => store.removeAccount(...order),
    onChange: (listener) => store.onChange(listener),
    onRestart: (listener) => store.onRestart?.(listener),
    ...lies,
  };
}
