import { setCondition } from "../../api/conditions.ts";
import { isTerminal, requests } from "../../api/kinds.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { nodes, type ObjectName, pods } from "../../kube/resources.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import { type Context, LIVE } from "../context.ts";
import { decideRequest } from "./decide.ts";
import { Room } from "./room.ts";

const HOLD_MS = 1000;

/**
 * A new request is checked and given to the agent of its pod's node, as many at once as the cluster's limit
 * allows; one whose agent stays silent past the deadline is failed. One worker, so that the limit is kept.
 */
export function requestController(context: Context): Controller {
  const { client, caches, recorder, log, now, settings } = context;
  const room = new Room(settings.limits.perCluster);

  const nodeReady = (name: string): boolean =>
    caches.nodes.get(undefined, name)?.status?.conditions?.some((c) => c.status === "True") ?? false;

  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const request = caches.requests.get(namespace, name);
    if (request === undefined || isTerminal(request)) return done;
    const stamped = request.status?.nodeName;
    if (stamped === undefined && !room.has(caches.requests.byIndex(LIVE, LIVE))) return again(HOLD_MS);
    const pod =
      stamped !== undefined
        ? undefined
        : await client.get(pods, { namespace, name: request.spec.podReference.name }).catch(absent);
    const nodeExists =
      stamped === undefined ||
      caches.nodes.get(undefined, stamped) !== undefined ||
      (await client.get(nodes, { name: stamped }).catch(absent)) !== undefined;
    const time = now();
    const decision = decideRequest(request, pod, { now: time, nodeExists, nodeReady });

    switch (decision.type) {
      case "nothing":
        return done;
      case "wait":
        return again(decision.untilMs);
      case "hold":
        return again(HOLD_MS);
      case "accept":
        await writeStatus(client, requests, request, {
          phase: "Pending",
          nodeName: decision.nodeName,
          podUID: decision.podUID,
          containerName: decision.container,
          acceptedTime: time.toISOString(),
        });
        room.accepted(request);
        return done;
      case "fail": {
        const { error } = decision;
        await writeStatus(client, requests, request, {
          phase: "Failed",
          completionTime: time.toISOString(),
          reason: error.code,
          message: error.advice,
          conditions: setCondition(
            request.status?.conditions,
            { type: "Ready", status: "False", reason: error.code, message: error.advice },
            time,
          ),
        });
        for (const regarding of pod === undefined ? [request] : [request, pod]) {
          recorder.record({
            regarding,
            type: "Warning",
            reason: error.code,
            action: "Checkpoint",
            note: error.advice,
          });
        }
        return done;
      }
      default:
        return decision satisfies never;
    }
  };

  return new Controller({
    name: "request",
    log,
    workers: 1,
    reconcile,
    sources: [changesOf(caches.requests)],
  });
}
