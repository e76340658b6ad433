// Whether the other members of a shard have room for its mail: each node tells the others how full its
// disk is, and a primary takes no mail that would fill its secondary's. Measuring is store/disk-room.ts.

import type { Clock, Timer } from "../../lib/clock.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { DiskRoom, RoomLevel } from "../../store/disk-room.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import { asText } from "./decode.ts";

export interface DiskLevelsOptions {
  readonly room: DiskRoom;
  readonly links: Links;
  readonly clock: Clock;
  /** Members that share a shard with this node. */
  readonly neighbours: () => Iterable<MemberId>;
  /** The other members of a shard whose primary this node is. */
  readonly secondariesOf: (shard: ShardId) => readonly MemberId[];
}

const method = "node.room";
const lookEveryMs = 500;
const tellEveryMs = 5000;
/** A member that fell silent is no reason to refuse mail: its link or its lease is. */
const forgetMs = 15_000;

export class DiskLevels {
  readonly #options: DiskLevelsOptions;
  readonly #full = new Map<MemberId, number>();
  #told: RoomLevel = "ample";
  #toldMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(options: DiskLevelsOptions, registry: RpcRegistry) {
    this.#options = options;
    registry.onSend(method, ({ from, head }) => {
      if (asText(head, "level", 16) === "noMail") this.#full.set(from, options.clock.monotonicMs());
      else this.#full.delete(from);
    });
    options.room.others = (shard) => this.#haveRoom(shard);
  }

  start(): void {
    this.#tell();
    this.#timer = this.#options.clock.after(lookEveryMs, () => this.start());
  }

  close(): void {
    this.#timer?.cancel();
  }

  #tell(): void {
    const { room, links, clock, neighbours } = this.#options;
    const { level } = room;
    const nowMs = clock.monotonicMs();
    if (level === this.#told && nowMs - this.#toldMs < tellEveryMs) return;
    this.#told = level;
    this.#toldMs = nowMs;
    for (const node of neighbours()) links.peer(node).send(method, level);
  }

  #haveRoom(shard: ShardId): boolean {
    if (this.#full.size === 0) return true;
    const nowMs = this.#options.clock.monotonicMs();
    return this.#options.secondariesOf(shard).every((node) => {
      const since = this.#full.get(node);
      return since === undefined || nowMs - since > forgetMs;
    });
  }
}
