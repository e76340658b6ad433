// I8 at the end of a run: names and accounts fit, and every gateway has what the shards' primaries have.

import type { DirectoryRow } from "../../../src/mail/account.ts";
import type { AccountId } from "../../../src/mail/ids.ts";
import { shardId } from "../../../src/mail/ids.ts";
import { isHeld } from "../../../src/cluster/directory/claims.ts";
import type { Claim } from "../../../src/cluster/directory/claims.ts";
import type { DirectoryStore } from "../../../src/cluster/directory/directory-store.ts";
import type { GatewayDirectory } from "../../../src/cluster/directory/gateway-directory.ts";
import { describeRow } from "./describe.ts";
import type { NameLedger } from "./names.ts";

interface Truth {
  readonly rows: readonly DirectoryRow[];
  readonly claims: readonly Claim[];
}

const most = 1000;

/** Empty when everything is as it should be, else what is not (yet). */
export async function namesAtRest(
  names: NameLedger,
  stores: () => readonly (DirectoryStore | undefined)[],
  gates: readonly { readonly name: string; readonly directory: GatewayDirectory }[],
  shards: number,
): Promise<string> {
  const truth = await truthOf(stores());
  if (truth === undefined) return "a shard is not served";
  const wrong = consistent(truth) ?? asKnown(truth, names);
  if (wrong !== undefined) return wrong;
  for (const { name, directory } of gates) {
    const stale = directory.stale();
    if (stale.length > 0) return `${name} is not fresh: shards ${stale.join()} of ${shards}`;
    const listed = await directory.list("", most);
    const [mine, theirs] = [listed, truth.rows].map((all) => all.map(describeRow).join("; "));
    if (mine !== theirs) return `${name} has ${mine}, the nodes have ${theirs}`;
    for (const text of names.all) {
      const found = directory.lookupNow(text);
      const holder = holderOf(truth, text);
      const said = found.kind === "found" ? found.row.account : undefined;
      if (found.kind === "unsure" || said !== holder) {
        return `${name} says ${found.kind} ${said} of ${text}, which is account ${holder}'s`;
      }
    }
  }
  return "";
}

async function truthOf(
  stores: readonly (DirectoryStore | undefined)[],
): Promise<Truth | undefined> {
  const rows: DirectoryRow[] = [];
  const claims: Claim[] = [];
  for (const [at, store] of stores.entries()) {
    if (store === undefined) return undefined;
    const found = await store.rowsAfter(shardId(at), 0, most);
    rows.push(...found.filter(({ state }) => state !== "deleted"));
    claims.push(...(await store.claimsAfter(shardId(at), "", most)));
  }
  return { rows: rows.toSorted((a, b) => (a.name < b.name ? -1 : 1)), claims };
}

/** No change is half done; each name leads to one account, which has it. */
function consistent({ rows, claims }: Truth): string | undefined {
  for (const { name, state, task, account } of claims) {
    if (task !== undefined) return `a change of ${name} is not finished`;
    if (state === "claimed") return `${name} is claimed for account ${account}, which is not made`;
  }
  const owners = new Map<string, AccountId>();
  for (const { account, name, aliases } of rows) {
    for (const text of [name, ...aliases]) {
      const other = owners.get(text);
      if (other !== undefined) return `${text} is account ${other}'s and account ${account}'s`;
      owners.set(text, account);
      const claim = claims.find((one) => one.name === text);
      if (!isHeld(claim) || claim.account !== account) {
        return `account ${account} has ${text} without a claim`;
      }
    }
  }
  for (const claim of claims) {
    if (isHeld(claim) && owners.get(claim.name) !== claim.account) {
      return `${claim.name} is claimed for account ${claim.account}, which does not have it`;
    }
  }
  return undefined;
}

function asKnown(truth: Truth, names: NameLedger): string | undefined {
  for (const text of names.all) {
    const holder = holderOf(truth, text);
    const known = names.holder(text);
    if (known !== undefined && known !== holder) {
      return `${text} is account ${holder}'s, and was given to account ${known}`;
    }
    if (names.isFree(text) && holder !== undefined) {
      return `${text} is account ${holder}'s, and was taken from it`;
    }
  }
  return undefined;
}

function holderOf({ claims }: Truth, text: string): AccountId | undefined {
  const claim = claims.find(({ name }) => name === text);
  return isHeld(claim) ? claim.account : undefined;
}
