// What one replica does besides entries: its config and seals on the disk, what the pulse grants and
// holds for it, its copy made anew. When is decided in protocol/replica*.ts.

import { epoch as makeEpoch } from "../../mail/ids.ts";
import type { Epoch, MemberId } from "../../mail/ids.ts";
import { grantOf, holdOf } from "../protocol/replica.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import type { ReplicaShell, ShellContext } from "./replica-shell.ts";
import { encodeShardConfig } from "./shard-codec.ts";

export class ReplicaUpkeep {
  readonly #shell: ReplicaShell;
  readonly #context: ShellContext;
  /** What the pulse was told last; 0 is nothing. */
  #grantedEpoch = 0;
  #heldEpoch = 0;

  constructor(shell: ReplicaShell, context: ShellContext) {
    this.#shell = shell;
    this.#context = context;
  }

  persistConfig(config: ShardConfig): void {
    const { epoch } = config;
    const { shard } = this.#shell;
    const { log } = this.#context;
    const { sealedEpoch } = log.state(shard);
    const bytes = Buffer.from(encodeShardConfig(config));
    log.writeConfig(shard, { epoch, sealedEpoch, config: bytes });
  }

  persistSeal(sealed: Epoch): void {
    const { shard } = this.#shell;
    const { log, clock } = this.#context;
    const { epoch, sealedEpoch: before, config } = log.state(shard);
    const sealedEpoch = makeEpoch(Math.max(before, sealed));
    const group = log.writeConfig(shard, { epoch, sealedEpoch, config });
    this.tellPulse();
    this.#when(group.durable, () => {
      const nowMs = clock.monotonicMs();
      this.#shell.step({ kind: "sealDurable", epoch: sealed, nowMs });
    });
  }

  /** Answered at once when there is no pulse: then nothing was ever granted. */
  revoke(epoch: Epoch): void {
    const { leases, clock } = this.#context;
    const { shard } = this.#shell;
    const revoked = (lastGrantedMs: number) => {
      this.#shell.step({ kind: "revoked", epoch, lastGrantedMs, nowMs: clock.monotonicMs() });
    };
    if (leases === undefined) revoked(Number.NEGATIVE_INFINITY);
    else this.#when(leases.revoke(shard, epoch), ({ lastGrantedMs }) => revoked(lastGrantedMs));
  }

  copy(from: MemberId): void {
    const { shard, log } = this.#shell;
    const { clock } = this.#context;
    log.reset();
    this.#when(this.#context.copy(shard, from), (point) => {
      this.#shell.step({ kind: "copied", point, nowMs: clock.monotonicMs() });
    });
  }

  /** What this copy grants, and whose leases it needs, when that has changed. */
  tellPulse(): void {
    const { leases } = this.#context;
    if (leases === undefined) return;
    const { shard, state } = this.#shell;
    const grant = grantOf(state);
    const hold = holdOf(state);
    if (this.#grantedEpoch !== (grant?.epoch ?? 0)) leases.setGrant(shard, grant);
    if (this.#heldEpoch !== (hold?.epoch ?? 0)) leases.setHold(shard, hold);
    this.#grantedEpoch = grant?.epoch ?? 0;
    this.#heldEpoch = hold?.epoch ?? 0;
  }

  /** Goes on when something off the data path is done. A log that failed has told the process, which ends. */
  #when<T>(done: Promise<T>, goOn: (value: T) => void): void {
    const { shard } = this.#shell;
    done
      .then((value) => {
        goOn(value);
        this.tellPulse();
        this.#context.dirty(this.#shell);
      })
      .catch((error: unknown) => this.#context.failed(shard, error));
  }
}
