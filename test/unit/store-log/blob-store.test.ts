import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import { BlobStore } from "../../../src/store/log/blob-store.ts";

const random = new SeededRandom(5);
const content = Buffer.from(random.bytes(300_000));
const sha256 = createHash("sha256").update(content).digest("hex");

function store(disk: SimulatedDisk, clock = new SimulatedClock()): Promise<BlobStore> {
  return BlobStore.open(disk, "blobs", clock);
}

async function put(blobs: BlobStore, name: string) {
  const writer = await blobs.create(name);
  for (let at = 0; at < content.byteLength; at += 10_007) {
    await writer.write(content.subarray(at, at + 10_007));
  }
  return writer.finish();
}

describe("a blob", () => {
  test("that was finished survives any crash, whole", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = new SimulatedDisk({ seed });
      const info = await put(await store(disk), "b1");
      expect(info).toEqual({ name: "b1", bytes: content.byteLength, sha256 });
      disk.crash("random");
      expect(await (await store(disk)).isComplete(info)).toBe(true);
    }
  });

  test("that was not finished never shows, and is cleared away", async () => {
    const disk = new SimulatedDisk();
    const blobs = await store(disk);
    const writer = await blobs.create("b1");
    await writer.write(content);
    expect(await blobs.list()).toEqual([]);
    disk.crash("keep");
    const again = await store(disk);
    expect(await again.list()).toEqual([]);
    expect(await disk.list("blobs")).toEqual([]);
    await expect(again.read("b1", 0, 1)).rejects.toThrow("DAMAGED");
  });

  test("that comes twice at once is whole as soon as one of them is finished", async () => {
    const disk = new SimulatedDisk();
    const blobs = await store(disk);
    const first = await blobs.create("b1");
    await first.write(content.subarray(0, 200_000));
    const second = await blobs.create("b1");
    await second.write(content.subarray(0, 100_000));
    await first.write(content.subarray(200_000));
    const info = await first.finish();
    expect(info.sha256).toBe(sha256);
    expect(await blobs.isComplete(info)).toBe(true);
    await second.write(content.subarray(100_000));
    expect(await second.finish()).toEqual(info);
    const third = await blobs.create("b1");
    await third.write(content);
    await third.abort();
    expect(await blobs.isComplete(info)).toBe(true);
    expect(await disk.list("blobs")).toEqual(["b1", "b1.sum"]);
  });

  test("that was aborted leaves nothing", async () => {
    const disk = new SimulatedDisk();
    const writer = await (await store(disk)).create("b1");
    await writer.write(content);
    await writer.abort();
    expect(await disk.list("blobs")).toEqual([]);
  });

  test("is read at any offset, and streamed", async () => {
    const blobs = await store(new SimulatedDisk());
    await put(blobs, "b1");
    expect(Buffer.from(await blobs.read("b1", 1_000, 50))).toEqual(content.subarray(1_000, 1_050));
    const pieces: Uint8Array[] = [];
    for await (const piece of blobs.stream("b1", 123, 200_000)) pieces.push(piece);
    expect(Buffer.concat(pieces)).toEqual(content.subarray(123, 200_123));
    expect(Math.max(...pieces.map(({ byteLength }) => byteLength))).toBeLessThanOrEqual(65_536);
  });

  test("with a flipped bit, or a piece missing, is not complete", async () => {
    const disk = new SimulatedDisk();
    const blobs = await store(disk);
    const info = await put(blobs, "b1");
    disk.flipBit("blobs/b1", 200_000, 2);
    expect(await blobs.isComplete(info)).toBe(false);
    disk.flipBit("blobs/b1", 200_000, 2);
    expect(await blobs.isComplete(info)).toBe(true);
    disk.tear("blobs/b1", 299_999);
    expect(await blobs.isComplete(info)).toBe(false);
    expect(await blobs.isComplete({ ...info, name: "other" })).toBe(false);
  });

  test("with a flipped bit gives no wrong byte, and the pieces around it", async () => {
    const disk = new SimulatedDisk();
    await put(await store(disk), "b1");
    disk.flipBit("blobs/b1", 100_000, 2);
    const blobs = await store(disk);
    expect(Buffer.from(await blobs.read("b1", 100, 65_000))).toEqual(content.subarray(100, 65_100));
    expect(Buffer.from(await blobs.read("b1", 140_000, 500_000))).toEqual(
      content.subarray(140_000),
    );
    await expect(blobs.read("b1", 65_000, 1_000)).rejects.toThrow("DAMAGED");
    await expect(blobs.stream("b1", 70_000).next()).rejects.toThrow("DAMAGED");
  });

  test("whose checksums are damaged gets new ones when all of it was compared", async () => {
    const disk = new SimulatedDisk();
    const info = await put(await store(disk), "b1");
    disk.flipBit("blobs/b1.sum", 9, 1);
    const blobs = await store(disk);
    await expect(blobs.read("b1", 0, 10)).rejects.toThrow("DAMAGED");
    expect(await blobs.isComplete(info)).toBe(true);
    expect(Buffer.from(await blobs.read("b1", 0, 10))).toEqual(content.subarray(0, 10));
    disk.flipBit("blobs/b1", 5, 1);
    await expect((await store(disk)).read("b1", 0, 10)).rejects.toThrow("DAMAGED");
  });

  test("is swept only after it was unused for the whole time", async () => {
    const clock = new SimulatedClock();
    const blobs = await store(new SimulatedDisk(), clock);
    await put(blobs, "used");
    await put(blobs, "unused");
    const dayMs = 86_400_000;
    const isUsed = async (name: string): Promise<boolean> => name === "used";
    expect(await blobs.sweep(isUsed, dayMs)).toBe(0);
    clock.advance(dayMs / 2);
    expect(await blobs.sweep(isUsed, dayMs)).toBe(0);
    clock.advance(dayMs / 2);
    expect(await blobs.sweep(isUsed, dayMs)).toBe(1);
    expect(await blobs.list()).toEqual(["used"]);
  });
});
