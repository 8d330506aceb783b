import type { Checkpoint } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import {
  type CheckpointDownload,
  DOWNLOAD_NAMESPACE,
  type DownloadStatus,
  endOf,
} from "../../api/download.ts";
import { KcrError } from "../../api/errors.ts";
import { checkpoints, downloads } from "../../api/kinds.ts";
import { READY } from "../../api/request.ts";
import { createToken, hashToken, sealToken } from "../../api/sealed-token.ts";
import { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import { type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import type { Context } from "../context.ts";
import { decideDownload, restOf } from "./decide.ts";

/** Downloads that were asked for, and who serves them; all replicas of the operator keep it. */
export interface DownloadCaches {
  downloads: Cache<CheckpointDownload>;
  pods: Cache<Pod>;
}

const BY_CHECKPOINT = "checkpoint";

export function downloadCaches(common: { client: Client; log: Logger; metrics: Metrics }): DownloadCaches {
  return {
    downloads: new Cache({
      ...common,
      resource: downloads,
      indexes: { [BY_CHECKPOINT]: ({ metadata, spec }) => [`${metadata.namespace}/${spec.checkpointName}`] },
    }),
    pods: new Cache({
      ...common,
      resource: pods,
      namespace: DOWNLOAD_NAMESPACE,
      labelSelector: "app.kubernetes.io/name=kcr-download",
    }),
  };
}

/**
 * Gives each CheckpointDownload a token that only its key's holder can read, and removes it when its time is over.
 *
 * Guarantees: a token is in no place but the object it was sealed into; what is kept of it is its hash. The token stays
 * the same for the object's life, whatever becomes of the pod that serves it. Killed at any point, the next leader goes
 * on from the status alone.
 */
export function downloadController(context: Context, own: DownloadCaches): Controller {
  const { client, caches, recorder, log, now } = context;

  const reconcile = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const download = own.downloads.get(namespace, name);
    if (download === undefined) return done;
    const checkpoint = await find({ namespace, name: download.spec.checkpointName });
    const decision = decideDownload(download, { now: now(), checkpoint, pods: own.pods.list() });
    switch (decision.type) {
      case "nothing":
        break;
      case "delete": {
        const { uid } = download.metadata;
        await client.delete(downloads, { namespace, name }, { preconditions: { uid } }).catch(absent);
        return done;
      }
      case "wait":
        await tell(download, "Pending", decision.why);
        break;
      case "fail":
        await tell(download, "Failed", decision.error);
        break;
      case "offer": {
        const token = sealed(download);
        if (token instanceof KcrError) {
          await tell(download, "Failed", token);
          break;
        }
        await write(download, { ...decision.offer, ...token });
        log.info(
          { namespace, download: name, checkpoint: download.spec.checkpointName },
          "a download is offered",
        );
        if (checkpoint !== undefined) report(download, checkpoint);
        break;
      }
      case "amend":
        await write(download, decision.offer);
        break;
      default:
        return decision satisfies never;
    }
    return again(restOf(download, now()));
  };

  /** The cache need not know a Checkpoint that is asked for as soon as it is there. */
  const find = async (name: ObjectName): Promise<Checkpoint | undefined> =>
    caches.checkpoints.get(name.namespace, name.name) ?? (await client.get(checkpoints, name).catch(absent));

  const tell = async (
    download: CheckpointDownload,
    phase: "Pending" | "Failed",
    { code: reason, message: what, advice }: KcrError,
  ): Promise<void> => {
    const { status } = download;
    const message = phase === "Failed" ? advice : what;
    if (status?.phase === phase && status.reason === reason && status.message === message) return;
    const ready = { type: READY, status: "False", reason, message } as const;
    const conditions = setCondition(status?.conditions, ready, now());
    await writeStatus(client, downloads, download, { phase, reason, message, conditions });
  };

  const write = async (download: CheckpointDownload, status: DownloadStatus): Promise<void> => {
    const ready = {
      type: READY,
      status: "True",
      reason: "Offered",
      message: "the token can be used",
    } as const;
    await writeStatus(client, downloads, download, {
      ...status,
      phase: "Ready",
      reason: undefined,
      message: undefined,
      expirationTime: new Date(endOf(download)).toISOString(),
      conditions: setCondition(download.status?.conditions, ready, now()),
    });
  };

  const report = ({ metadata, spec }: CheckpointDownload, regarding: Checkpoint): void =>
    recorder.record({
      regarding,
      type: "Normal",
      reason: "DownloadOffered",
      action: "Download",
      note: `CheckpointDownload ${metadata.name} lets the holder of ${spec.publicKey} read the archive`,
    });

  return new Controller({
    name: "download",
    log,
    reconcile,
    sources: [
      changesOf(own.downloads),
      changesOf(own.pods, () => own.downloads.list().map(({ metadata }) => metadata)),
      changesOf(caches.checkpoints, ({ metadata: { namespace, name } }) =>
        own.downloads.byIndex(BY_CHECKPOINT, `${namespace}/${name}`).map(({ metadata }) => metadata),
      ),
    ],
  });
}

function sealed({
  metadata,
  spec,
}: CheckpointDownload): Pick<DownloadStatus, "sealedToken" | "tokenHash"> | KcrError {
  const token = createToken();
  try {
    return { sealedToken: sealToken(token, spec.publicKey, metadata), tokenHash: hashToken(token) };
  } catch (cause) {
    return new KcrError("KeyUnsuitable", `spec.publicKey: ${(cause as Error).message}`, { cause });
  }
}
