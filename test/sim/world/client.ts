// A client of the simulated cluster: one operation after the other on some shard, each tried again
// with the same number through right and wrong members until it is answered or given up.

import type { Lsn } from "../../../src/mail/ids.ts";
import type { Client } from "./cluster.ts";
import type { GatewayProcess } from "./gateway.ts";
import type { NodeProcess, Shown } from "./node-process.ts";
import type { SimNode } from "./node.ts";
import type { World } from "./world.ts";

const tryMs = 700;
const giveUpMs = 12_000;

type Answer =
  | { readonly kind: "wrote"; readonly lsn: Lsn; readonly hash: number }
  | { readonly kind: "read" }
  | { readonly kind: "refused" }
  | { readonly kind: "unknown" };

export class SimClient implements Client {
  readonly #world: World;
  readonly #gateway: GatewayProcess;
  /** Of the try under way: answers of earlier ones are void. */
  #attempt = 0;
  #abandoned = false;

  constructor(world: World, gateway: GatewayProcess) {
    this.#world = world;
    this.#gateway = gateway;
  }

  /** The gateway is gone, and the connection with it. */
  abandon(): void {
    this.#abandoned = true;
  }

  next(): void {
    const { life } = this.#gateway;
    const world = this.#world;
    if (this.#abandoned || world.quiet) return;
    const shard = world.draws.below(world.plan.shards);
    const isWrite = world.draws.chance(0.65);
    const op = isWrite ? world.nextOp() : 0;
    const atMs = world.schedule.nowMs;
    const done = (answered: boolean) => {
      this.#attempt += 1;
      world.checker.request(shard, world.schedule.nowMs - atMs, answered);
      life.main.after(world.draws.skewed(1, world.plan.thinkMs), () => this.next());
    };
    this.#try(shard, op, atMs, done);
  }

  #try(shard: number, op: number, atMs: number, done: (answered: boolean) => void): void {
    const { life } = this.#gateway;
    const world = this.#world;
    if (this.#abandoned) return;
    if (world.schedule.nowMs - atMs > giveUpMs) {
      done(false);
      return;
    }
    this.#attempt += 1;
    const attempt = this.#attempt;
    const node = this.#choose(shard);
    const again = (afterMs: number) => {
      this.#attempt += 1;
      life.main.after(afterMs, () => this.#try(shard, op, atMs, done));
    };
    const heard = (answer: Answer) => {
      if (answer.kind === "wrote") world.checker.acked(shard, op, answer.lsn, answer.hash);
      if (this.#attempt !== attempt) return;
      if (answer.kind === "wrote" || answer.kind === "read") done(true);
      else again(world.draws.between(2, 40));
    };
    life.main.after(tryMs, () => {
      if (this.#attempt === attempt) again(0);
    });
    if (node === undefined) return;
    const since = world.checker.acknowledged(shard);
    const sent = world.network.send(this.#gateway.machine, node, () => {
      const { process } = node;
      if (process === undefined) return;
      const answer = (what: Answer) => {
        world.network.send(node, this.#gateway.machine, () => heard(what));
      };
      if (op === 0) answer(read(process, shard, since));
      else this.#write(process, shard, op, answer);
    });
    if (!sent) again(world.draws.between(5, 60));
  }

  #write(process: NodeProcess, shard: number, op: number, answer: (what: Answer) => void): void {
    const taken = process.write(shard, {
      op,
      answer: (outcome, lsn) => {
        if (outcome === "unknown") {
          answer({ kind: "unknown" });
          return;
        }
        const hash = process.world.checker.acking(process, shard, op, lsn);
        answer({ kind: "wrote", lsn, hash });
      },
    });
    if (!taken) answer({ kind: "refused" });
  }

  #choose(shard: number): SimNode | undefined {
    const world = this.#world;
    if (world.draws.chance(world.plan.wrongMember)) return world.draws.pick(world.nodes);
    const config = this.#gateway.configOf(shard);
    return config === undefined ? undefined : world.nodeOf(config.primary.node);
  }
}

function read(process: NodeProcess, shard: number, since: Shown): Answer {
  const shown = process.read(shard);
  if (shown === undefined) return { kind: "refused" };
  process.world.checker.reading(process, shard, shown, since);
  return { kind: "read" };
}
