import { beforeAll, describe, expect, inject, test } from "vitest";
import { Client } from "./client.ts";
import { EventRecorder, type EventRecorderOptions } from "./events.ts";
import { silent } from "./log.ts";
import { noMetrics } from "./metrics.ts";
import { type ConfigMap, configMaps, events, namespaces } from "./resources.ts";

const reason = inject("whyNotApiServer");

describe.skipIf(reason)("an event recorder", () => {
  let client: Client;
  let unique = 0;
  beforeAll(() => {
    client = Client.fromConfig({ kubeconfig: inject("kubeconfig")! });
  });

  async function scene(more: Partial<EventRecorderOptions> = {}) {
    const { metadata } = await client.create(namespaces, {
      metadata: { name: `events-${process.pid}-${unique++}` },
    });
    const namespace = metadata.name;
    const object = await client.create(configMaps, { metadata: { namespace, name: "subject" } });
    const lost: string[] = [];
    const recorder = () =>
      new EventRecorder({
        client,
        controller: "example.com/test",
        instance: "one",
        log: silent,
        metrics: {
          ...noMetrics,
          increment: (name, labels) => {
            if (name === "events_lost_total") lost.push(labels["reason"]!);
          },
        },
        ...more,
      });
    const list = async () => (await client.list(events, { namespace })).items;
    return { namespace, object, recorder, list, lost };
  }
  const about = (object: ConfigMap, note = "it happened") =>
    ({ regarding: object, type: "Warning", reason: "Happened", action: "Test", note }) as const;

  test("an event says what happened to what", async () => {
    const { object, recorder, list } = await scene();
    const one = recorder();
    one.record(about(object));
    await one.close();
    expect(await list()).toMatchObject([
      {
        type: "Warning",
        reason: "Happened",
        action: "Test",
        note: "it happened",
        regarding: { kind: "ConfigMap", name: "subject", uid: object.metadata.uid },
        reportingController: "example.com/test",
      },
    ]);
  });

  test("the same event again is counted in its series, in another process too", async () => {
    const { object, recorder, list } = await scene();
    for (let process = 0; process < 2; process++) {
      const one = recorder();
      one.record(about(object));
      await one.flush();
      for (let turn = 0; turn < 4; turn++) one.record(about(object));
      await one.close();
    }
    const found = await list();
    expect(found).toHaveLength(1);
    expect(found[0]?.series?.count).toBe(10);
  });

  test("what the server would refuse for its length or name is made to fit", async () => {
    const { namespace, recorder, list } = await scene();
    const name = `System:${"x".repeat(250)}`;
    const one = recorder();
    const regarding = { apiVersion: "v1", kind: "Thing", namespace, name };
    one.record({ regarding, type: "Normal", reason: "Happened", action: "Test", note: "ö".repeat(2_000) });
    await one.close();
    const [event] = await list();
    expect(Buffer.byteLength(event!.note!)).toBeLessThanOrEqual(1_024);
    expect(event!.regarding!.name).toBe(name);
  });

  test("no object gets more than its share, and what is lost is counted", async () => {
    const { object, recorder, list, lost } = await scene({ burst: 3 });
    const one = recorder();
    for (let number = 0; number < 10; number++) one.record(about(object, `number ${number}`));
    await one.close();
    expect(await list()).toHaveLength(3);
    expect(lost).toEqual(Array(7).fill("limited"));
  });

  test("an event that cannot be written throws nothing into the caller and is counted", async () => {
    const { object, recorder, lost } = await scene();
    const one = recorder();
    one.record({ ...about(object), regarding: { metadata: object.metadata } });
    one.record({ ...about(object), reason: "" });
    await one.close();
    expect(lost).toEqual(["failed", "failed"]);
  });
});
