import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { settings } from "../../api/settings.ts";
import { lackOf, type Room, roomsOf } from "./room.ts";

const room = (name: Room["name"], freeBytes: number, device = 1): Room => ({
  name,
  path: `/${name}`,
  device,
  freeBytes,
});

test.each<[string, Room[], { archive: number; copy: number }, number, boolean]>([
  ["there is more than the reserve", [room("archives", 101)], { archive: 0, copy: 0 }, 100, true],
  ["there is less than the reserve", [room("archives", 99)], { archive: 0, copy: 0 }, 100, false],
  ["it fits", [room("archives", 150)], { archive: 50, copy: 50 }, 100, true],
  ["it would not leave the reserve", [room("archives", 149)], { archive: 50, copy: 0 }, 100, false],
  [
    "archive and copy do not fit on one disk together",
    [room("archives", 180), room("copies", 180)],
    { archive: 50, copy: 50 },
    100,
    false,
  ],
  [
    "each fits on its own disk",
    [room("archives", 180, 1), room("copies", 180, 2)],
    { archive: 50, copy: 50 },
    100,
    true,
  ],
  [
    "the copy does not fit on its own",
    [room("archives", 180, 1), room("copies", 140, 2)],
    { archive: 50, copy: 50 },
    100,
    false,
  ],
  ["nobody wants a reserve", [room("archives", 0)], { archive: 50, copy: 50 }, 0, true],
])("whether there is room: %s", (_, rooms, need, reserve, fits) => {
  expect(lackOf(rooms, need, reserve)?.code).toBe(fits ? undefined : "DiskPressure");
});

test("what is free is what the file system says, of directories that are there", async () => {
  const rooms = await roomsOf(
    settings.parse({
      store: "node",
      local: { directory: tmpdir() },
      kubelet: { checkpointDirectory: `${tmpdir()}/not-there` },
    }),
  );
  expect(rooms).toMatchObject([{ name: "copies", path: tmpdir() }]);
  expect(rooms[0]?.freeBytes).toBeGreaterThan(0);
});
