// Whether a cluster kept what its ledger says it has acknowledged: each message once, whole, in every
// place where it is looked for. Says nothing of how the ledger came about.

import type { DevCluster } from "./dev-cluster.ts";
import { fetchNumber, ImapClient } from "./imap-client.ts";
import { belowTrace, type Ledger, type Sent } from "./ledger.ts";
import { compareReplicas, type ShardMembers, type StoredMessage } from "./replicas.ts";

/** Counts the messages of one place against a ledger. */
class Tally {
  readonly #ledger: Ledger;
  readonly #where: string;
  readonly #seen = new Map<string, number>();
  readonly wrong: string[] = [];

  constructor(ledger: Ledger, where: string) {
    this.#ledger = ledger;
    this.#where = where;
  }

  note(user: string, stored: Buffer): void {
    const found = belowTrace(stored);
    if (found === undefined) return;
    const { id, hash } = found;
    const sent: Sent | undefined = this.#ledger.accepted.get(id) ?? this.#ledger.unknown.get(id);
    this.#seen.set(id, (this.#seen.get(id) ?? 0) + 1);
    if (sent === undefined) this.wrong.push(`${this.#where}: ${id} was never sent or was refused`);
    else if (sent.user !== user) this.wrong.push(`${this.#where}: ${id} went to ${user}`);
    else if (sent.hash !== hash) this.wrong.push(`${this.#where}: ${id} is not what was sent`);
  }

  /** @param copies How many of each acknowledged message must be here. */
  judge(copies: number): readonly string[] {
    for (const id of this.#ledger.accepted.keys()) {
      const count = this.#seen.get(id) ?? 0;
      if (count !== copies) this.wrong.push(`${this.#where}: ${count} of ${id}, not ${copies}`);
    }
    for (const id of this.#ledger.unknown.keys()) {
      const count = this.#seen.get(id) ?? 0;
      if (count > copies)
        this.wrong.push(`${this.#where}: ${count} of ${id}, whose try had no answer`);
    }
    return this.wrong;
  }
}

/** Reads every INBOX through every gateway. @returns what is wrong. */
export async function checkByImap(cluster: DevCluster, ledger: Ledger): Promise<readonly string[]> {
  const { users, password, gateways } = cluster.ports;
  const wrong: string[] = [];
  const listings = new Map<string, string>();
  for (const { id, imap } of gateways) {
    const tally = new Tally(ledger, id);
    for (const user of users) {
      const client = await ImapClient.connect(imap, { user, password });
      await client.ok("SELECT INBOX");
      const { untagged } = await client.ok("UID FETCH 1:* (BODY.PEEK[])");
      let last = 0;
      const uids: number[] = [];
      for (const line of untagged) {
        const [body] = line.literals;
        if (body === undefined) continue;
        const uid = fetchNumber(line, "UID");
        if (!(uid > last)) wrong.push(`${id} ${user}: UID ${uid} after ${last}`);
        last = uid;
        uids.push(uid);
        tally.note(user, body);
      }
      const listing = uids.join(" ");
      if ((listings.get(user) ?? listing) !== listing) wrong.push(`${id} ${user}: other UIDs`);
      listings.set(user, listing);
      await client.logout();
    }
    wrong.push(...tally.judge(1));
  }
  return wrong;
}

/**
 * Reads the data folders of all nodes of a stopped cluster. @returns what is wrong.
 * @param members The shard table: copies that it does not name are old ones and don't count.
 */
export async function checkReplicas(
  folders: readonly { readonly id: string; readonly data: string }[],
  ledger: Ledger,
  members: readonly ShardMembers[],
): Promise<readonly string[]> {
  const tally = new Tally(ledger, "data folders");
  const note = ({ user, bytes }: StoredMessage): void => tally.note(user, bytes);
  const wrong = await compareReplicas(folders, members, note);
  return [...wrong, ...tally.judge(2)];
}
