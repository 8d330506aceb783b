import { beforeAll, describe, expect, inject, test } from "vitest";
import { applyNew, applyOwned, fieldConflicts } from "./apply.ts";
import { Client } from "./client.ts";
import { isConflict, isInvalid, isNotFound, isStale } from "./errors.ts";
import { ownerReference } from "./owner.ts";
import { configMaps, namespaces } from "./resources.ts";

const reason = inject("whyNotApiServer");

describe.skipIf(reason)("server-side apply of what one owns", () => {
  let client: Client;
  let namespace: string;
  let unique = 0;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig: inject("kubeconfig")! });
    namespace = `apply-${process.pid}`;
    await client.create(namespaces, { metadata: { name: namespace } });
  });
  const newName = () => `a-${unique++}`;
  const mine = { fieldManager: "me" };
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (error: unknown) => error,
    );

  test("creates, and takes out again what is left out", async () => {
    const metadata = { namespace, name: newName() };
    await applyOwned(client, configMaps, { metadata, data: { a: "1", b: "1" } }, mine);
    await client.patch(
      configMaps,
      metadata,
      { type: "merge", body: { data: { theirs: "1" } } },
      { fieldManager: "them" },
    );
    const applied = await applyOwned(client, configMaps, { metadata, data: { a: "2" } }, mine);
    expect(applied.data).toEqual({ a: "2", theirs: "1" });
  });

  test("a field that another set is not taken away: 409, and it says whose it is", async () => {
    const metadata = { namespace, name: newName() };
    await client.create(configMaps, { metadata, data: { a: "theirs" } }, { fieldManager: "them" });
    const error = await failure(applyOwned(client, configMaps, { metadata, data: { a: "mine" } }, mine));
    expect(isConflict(error)).toBe(true);
    expect(fieldConflicts(error)).toEqual([{ field: ".data.a", manager: expect.stringContaining("them") }]);
    expect((await client.get(configMaps, metadata)).data).toEqual({ a: "theirs" });
  });

  test("a decision on an old version is not written", async () => {
    const metadata = { namespace, name: newName() };
    const basedOn = await client.create(configMaps, { metadata, data: { a: "1" } });
    await client.patch(configMaps, metadata, { type: "merge", body: { data: { other: "1" } } });
    const error = await failure(
      applyOwned(client, configMaps, { metadata, data: { mine: "1" } }, { ...mine, basedOn }),
    );
    expect(isConflict(error)).toBe(true);
    expect(fieldConflicts(error)).toEqual([]);
    expect((await client.get(configMaps, metadata)).data).toEqual({ a: "1", other: "1" });
  });

  test("a decision on an object that is gone neither brings it back nor touches the next of its name", async () => {
    const metadata = { namespace, name: newName() };
    const basedOn = await client.create(configMaps, { metadata, data: { a: "1" } });
    await client.delete(configMaps, metadata);
    const late = () =>
      failure(applyOwned(client, configMaps, { metadata, data: { mine: "1" } }, { ...mine, basedOn }));
    expect(isConflict(await late())).toBe(true);
    expect(isNotFound(await failure(client.get(configMaps, metadata)))).toBe(true);
    await client.create(configMaps, { metadata, data: { a: "next" } });
    expect(isConflict(await late())).toBe(true);
    expect((await client.get(configMaps, metadata)).data).toEqual({ a: "next" });
  });

  test("what is made new is not put in the place of what the same program has made meanwhile", async () => {
    const metadata = { namespace, name: newName() };
    const make = (a: string) => applyNew(client, configMaps, { metadata, data: { a } }, mine);
    await make("first");
    expect(isConflict(await failure(make("second")))).toBe(true);
    expect((await client.get(configMaps, metadata)).data).toEqual({ a: "first" });
  });

  test("a JSON patch that tests what it relies on is refused when that has changed", async () => {
    const metadata = { namespace, name: newName() };
    const read = await client.create(configMaps, { metadata, data: { a: "1" } });
    const body = [
      { op: "test" as const, path: "/metadata/resourceVersion", value: read.metadata.resourceVersion },
      { op: "replace" as const, path: "/data/a", value: "2" },
    ];
    expect((await client.patch(configMaps, metadata, { type: "json", body })).data).toEqual({ a: "2" });
    expect(isStale(await failure(client.patch(configMaps, metadata, { type: "json", body })))).toBe(true);
    const invalid = { type: "json" as const, body: [{ op: "add" as const, path: "/data/b", value: 7 }] };
    const error = await failure(client.patch(configMaps, metadata, invalid));
    expect([isInvalid(error), isStale(error)]).toEqual([true, false]);
  });

  test("a deletion with a precondition spares the next object of that name", async () => {
    const metadata = { namespace, name: newName() };
    const read = await client.create(configMaps, { metadata });
    await client.delete(configMaps, metadata, { preconditions: { uid: read.metadata.uid } });
    await client.create(configMaps, { metadata });
    const error = await failure(
      client.delete(configMaps, metadata, { preconditions: { uid: read.metadata.uid } }),
    );
    expect(isConflict(error)).toBe(true);
    await client.get(configMaps, metadata);
  });

  test("what was created carries what an owner reference needs", async () => {
    const owner = await client.create(configMaps, { metadata: { namespace, name: newName() } });
    const owned = { metadata: { namespace, name: newName(), ownerReferences: [ownerReference(owner)] } };
    const created = await client.create(configMaps, owned);
    expect(created.metadata.ownerReferences).toMatchObject([
      { kind: "ConfigMap", uid: owner.metadata.uid, controller: true },
    ]);
  });
});
