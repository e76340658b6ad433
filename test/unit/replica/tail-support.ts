// What tests of tail-first copies begin from: a primary with a history, others still empty.

import { lsn } from "../../../src/mail/ids.ts";
import { positionOf } from "../../../src/cluster/protocol/replica-report.ts";
import { copyOf } from "./replica-member.ts";
import type { Member } from "./replica-member.ts";
import { config, World } from "./replica-world.ts";

/** n1 with `history` entries is primary; n2 and n3 are empty; nobody is connected to n3. */
export function begun(history: number): World {
  const world = new World(["n1", "n2", "n3"]);
  world.config = config(1, ["n1", "n2"]);
  for (const name of ["n1", "n2"]) world.join(world.member(name));
  link(world, "n1", "n2");
  world.pass();
  for (let i = 0; i < history; i += 1) world.propose(`old ${i}`);
  world.settle(3);
  return world;
}

export function link(world: World, one: string, other: string): void {
  world.connect(world.member(one), world.member(other));
  world.connect(world.member(other), world.member(one));
}

/** The next epoch: `primary` with `secondary` tail-first behind the primary's commit mark. */
export function tailFirst(world: World, primary: string, secondary: string): void {
  const { commitMark, markHash } = positionOf(world.member(primary).state);
  const tail = { full: false, fromLsn: lsn(commitMark + 1), anchorHash: markHash };
  const secondaries = [{ ...copyOf(secondary), ...tail }];
  world.config = { ...config(world.config.epoch + 1, [primary]), secondaries };
  for (const name of [primary, secondary]) world.join(world.member(name));
}

export function seal(world: World, member: Member): void {
  const at = { evenIfHeard: true, heardMs: 0, nowMs: world.nowMs };
  member.step({ kind: "seal", epoch: world.config.epoch, ...at });
  member.sync();
}

/** Keeps n3's own log from being filled: what is not of a tail is lost. */
export function onlyTails(world: World): void {
  world.filter = ({ message }) => message.tail;
}
