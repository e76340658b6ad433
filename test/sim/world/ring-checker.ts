// What must hold of the token ring: one token a ring, and in the end one ring of all gateways.

import type { RingId } from "../../../src/cluster/protocol/ring-types.ts";
import type { SimGateway } from "./gateway.ts";
import { InvariantViolation } from "./violation.ts";

/** Of one ring there is one token: two that hold it at the same time go by different rings. */
export function checkHolder(gateway: SimGateway, { term, maker }: RingId): void {
  for (const other of gateway.world.gateways) {
    const state = other === gateway ? undefined : other.process?.ring.state;
    if (state?.acting !== true || state.ring.term !== term || state.ring.maker !== maker) continue;
    const both = `${gateway.name} and ${other.name}`;
    throw new InvariantViolation("ring", `${both} both hold the token of ring ${term} of ${maker}`);
  }
}

/** All gateways are on one ring, with one token. */
export function isRingWhole(gateways: readonly SimGateway[]): boolean {
  const states = gateways.flatMap(({ process }) => process?.ring.state ?? []);
  const [first] = states;
  if (first === undefined) return false;
  const all = gateways.map(({ member }) => member).toSorted();
  const holders = states.filter(({ phase }) => phase === "hold" || phase === "sent");
  return (
    holders.length <= 1 &&
    states.every(
      ({ ring, order }) =>
        ring.term === first.ring.term &&
        ring.maker === first.ring.maker &&
        order.join() === all.join(),
    )
  );
}
