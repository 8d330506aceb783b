import { stat, statfs } from "node:fs/promises";
import { KcrError } from "../../api/errors.ts";
import type { Settings } from "../../api/settings.ts";
import { missing } from "../store/disk.ts";

/** A file system that checkpoints lie on. */
export interface Room {
  /** What lies there: the kubelet's archives, or kcr's copies. */
  name: "archives" | "copies";
  path: string;
  /** Of the file system; two of the same are one. */
  device: number;
  freeBytes: number;
}

/** The file systems of archives and copies; one whose directory is not there yet is left out. */
export async function roomsOf({ kubelet, local }: Pick<Settings, "kubelet" | "local">): Promise<Room[]> {
  const rooms: Room[] = [];
  for (const [name, path] of [
    ["archives", kubelet.checkpointDirectory],
    ["copies", local.directory],
  ] as const) {
    const [seen, space] = await Promise.all([stat(path).catch(missing), statfs(path).catch(missing)]);
    if (seen === undefined || space === undefined) continue;
    rooms.push({ name, path, device: seen.dev, freeBytes: space.bavail * space.bsize });
  }
  return rooms;
}

/** What a dump is going to write, in bytes. */
export interface Need {
  archive: number;
  /** Zero where none is unpacked. */
  copy: number;
}

/** Why there is no room for it, when the reserve is to be left; undefined when there is. */
export function lackOf(rooms: readonly Room[], need: Need, reserveBytes: number): KcrError | undefined {
  if (reserveBytes === 0) return undefined;
  const bytesOf = ({ name }: Room): number => (name === "archives" ? need.archive : need.copy);
  for (const { path, device, freeBytes } of rooms) {
    const bytes = rooms
      .filter((room) => room.device === device)
      .reduce((sum, room) => sum + bytesOf(room), 0);
    if (freeBytes - bytes >= reserveBytes) continue;
    const what = bytes === 0 ? "" : `, about ${bytes} are needed`;
    return new KcrError(
      "DiskPressure",
      `${path} has ${freeBytes} bytes free${what}, and ${reserveBytes} are to stay free`,
    );
  }
  return undefined;
}
