// The methods a member answers, by name. Filled once at start-up, before the link server listens.

import { assert } from "../../lib/assert.ts";
import type { RpcRegistry, RpcReply, RpcRequest } from "./rpc.ts";

export type Method =
  | {
      readonly kind: "call";
      readonly handle: (request: RpcRequest) => RpcReply | Promise<RpcReply>;
    }
  | { readonly kind: "stream"; readonly handle: (request: RpcRequest) => AsyncIterable<RpcReply> }
  | {
      readonly kind: "upload";
      readonly handle: (
        request: RpcRequest,
        chunks: AsyncIterable<Uint8Array>,
      ) => Promise<RpcReply>;
    }
  | { readonly kind: "send"; readonly handle: (request: RpcRequest) => void };

export class MethodRegistry implements RpcRegistry {
  readonly #methods = new Map<string, Method>();

  method(name: string): Method | undefined {
    return this.#methods.get(name);
  }

  onCall(method: string, handle: (request: RpcRequest) => RpcReply | Promise<RpcReply>): void {
    this.#add(method, { kind: "call", handle });
  }

  onStream(method: string, handle: (request: RpcRequest) => AsyncIterable<RpcReply>): void {
    this.#add(method, { kind: "stream", handle });
  }

  onUpload(
    method: string,
    handle: (request: RpcRequest, chunks: AsyncIterable<Uint8Array>) => Promise<RpcReply>,
  ): void {
    this.#add(method, { kind: "upload", handle });
  }

  onSend(method: string, handle: (request: RpcRequest) => void): void {
    this.#add(method, { kind: "send", handle });
  }

  #add(name: string, method: Method): void {
    assert(!this.#methods.has(name), `method ${name} is registered once`);
    this.#methods.set(name, method);
  }
}
