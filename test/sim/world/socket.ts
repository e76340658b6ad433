// The UDP socket of one simulated process. Mostly a message travels as it is; in seeds with forgeries
// as the signed bytes of cluster/pulse, on a network where somebody alters, invents and repeats them.

import type { MemberId } from "../../../src/mail/ids.ts";
import { memberId } from "../../../src/mail/ids.ts";
import type { PulseMessage } from "../../../src/cluster/pulse/packet-codec.ts";
import { PacketSeal } from "../../../src/cluster/pulse/packet-seal.ts";
import type { Life } from "./life.ts";
import type { Machine } from "./machine.ts";
import type { Cluster } from "./cluster.ts";

/** Signed bytes on their way, or in the attacker's hands. */
interface Packet {
  readonly number: number;
  readonly to: Machine;
  readonly bytes: Buffer;
  readonly genuine: boolean;
}

type Take = (from: MemberId, message: PulseMessage) => void;

const clusterId = "simulated";
const key = { id: 1, secret: Buffer.from("the members' own, which nobody else has") };
const guess = { id: 1, secret: Buffer.from("what somebody else takes for the secret") };
/** Packets that the attacker keeps to send again. */
const keptMax = 40;
const repeatAfterMsMax = 3000;

export class SimSocket {
  readonly #world: Cluster;
  readonly #machine: Machine;
  readonly #life: Life;
  readonly #take: Take;
  readonly #seal: PacketSeal | undefined;
  /** Packets that this process has taken. */
  readonly #taken = new Set<number>();
  #knownLives = 0;

  constructor(world: Cluster, machine: Machine, life: Life, take: Take) {
    this.#world = world;
    this.#machine = machine;
    this.#life = life;
    this.#take = take;
    const { incarnation } = life;
    const me = { member: machine.member, incarnation };
    if (world.plan.forgeries > 0) this.#seal = new PacketSeal(clusterId, me, [key]);
  }

  send(to: Machine, message: PulseMessage): void {
    const { network } = this.#world;
    const toInc = to.incarnation;
    if (this.#seal !== undefined) {
      const bytes = Buffer.from(
        this.#seal.seal({ member: to.member, incarnation: toInc }, message),
      );
      this.#world.attacker.post(this.#machine, to, bytes);
      return;
    }
    const fromInc = this.#life.incarnation;
    network.datagram(this.#machine, to, () => {
      to.socket?.receive(this.#machine, fromInc, toInc, message);
    });
  }

  /** A message of `from`, if it is meant for this life and comes from the present one. */
  receive(from: Machine, fromInc: number, toInc: number, message: PulseMessage): void {
    if (toInc !== this.#life.incarnation || from.incarnation !== fromInc) return;
    this.#take(from.member, message);
  }

  /** I12: nothing counts that its sender did not make, or that counted before. */
  open(packet: Packet): void {
    const seal = this.#seal;
    if (seal === undefined) return;
    this.#learnSenders(seal);
    const opened = seal.open(Buffer.from(packet.bytes));
    if (!opened.ok) return;
    const what = `${this.#machine.name} takes a ${opened.message.kind} of ${opened.from}`;
    if (!packet.genuine) this.#world.fail("I12", `${what} that was forged`);
    if (this.#taken.has(packet.number)) this.#world.fail("I12", `${what} twice`);
    this.#taken.add(packet.number);
    this.#take(opened.from, opened.message);
  }

  #learnSenders(seal: PacketSeal): void {
    const { lives, broken } = this.#world;
    if (this.#knownLives === lives && broken !== "replayWindow") return;
    this.#knownLives = lives;
    const others = [...this.#world.nodes, ...this.#world.gateways].filter(
      (machine) => machine !== this.#machine,
    );
    // With the rule broken that a number counts once: what was taken is forgotten.
    if (broken === "replayWindow") seal.setSenders([]);
    seal.setSenders(others.map(({ member, incarnation }) => ({ member, incarnation })));
  }
}

/** Somebody on the wire who sees every packet, and has no key. */
export class Attacker {
  readonly #world: Cluster;
  readonly #kept: Packet[] = [];
  #packets = 0;

  constructor(world: Cluster) {
    this.#world = world;
  }

  post(from: Machine, to: Machine, bytes: Buffer): void {
    const world = this.#world;
    this.#packets += 1;
    const packet = { number: this.#packets, to, bytes, genuine: true };
    world.network.datagram(from, to, () => to.socket?.open(packet));
    const { draws } = world;
    if (!draws.chance(world.plan.forgeries)) return;
    if (this.#kept.length < keptMax) this.#kept.push(packet);
    else this.#kept[draws.below(keptMax)] = packet;
    const made = this.#make(from, packet);
    if (made === undefined) return;
    world.schedule.after(draws.skewed(0, repeatAfterMsMax), () => {
      made.to.life?.pulse.run(() => made.to.socket?.open(made));
    });
  }

  #make(from: Machine, packet: Packet): Packet | undefined {
    const { draws, broken } = this.#world;
    const way = draws.below(4);
    // The same again, to the same or to another.
    if (way === 0) return draws.pick(this.#kept);
    if (way === 1) {
      const machines = [...this.#world.nodes, ...this.#world.gateways];
      return { ...packet, to: draws.pick(machines) ?? packet.to };
    }
    if (way === 2) {
      const bytes = Buffer.from(packet.bytes);
      const at = draws.below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << draws.below(8));
      return { ...packet, bytes, genuine: false };
    }
    // An invention in its name; with the rule broken that the key is secret, a good one.
    const member = memberId(from.name);
    const keys = [broken === "secretKey" ? key : guess];
    const seal = new PacketSeal(clusterId, { member, incarnation: from.incarnation }, keys);
    for (let count = draws.below(4); count > 0; count--) seal.seal(this.#face(packet), endless);
    const bytes = Buffer.from(seal.seal(this.#face(packet), endless));
    return { ...packet, bytes, genuine: false };
  }

  #face({ to }: Packet) {
    return { member: to.member, incarnation: to.incarnation };
  }
}

/** The ring of a maker that would win against every other one. */
const endless = {
  kind: "form",
  ring: { term: 0xffffffff, maker: memberId("zz") },
  order: [memberId("g1"), memberId("zz")],
} as const;
