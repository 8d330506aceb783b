import { describe, expect, it } from "vitest";
import { SELFTEST_ANNOTATION } from "../../api/labels.ts";
import { settings } from "../../api/settings.ts";
import { decide, verdictOf } from "./decide.ts";
import type { Facts, Verdict } from "./facts.ts";

const now = new Date("2026-01-01T12:00:00Z");
const ready = { type: "Ready", status: "True", lastTransitionTime: "2026-01-01T11:00:00Z" };
const config = (more: object = {}) => ({
  value: settings.parse({ registry: { push: "r.example" }, ...more }),
});

const readyNode = { metadata: { name: "r1", labels: {} }, status: { conditions: [ready] } };

/** Whose parts are laid over the healthy ones. */
interface Given {
  container?: object;
  spec?: object;
  podStatus?: object;
  annotations?: object;
  status?: object;
  node?: object;
  info?: object;
  nodeStatus?: object;
  selftest?: object | null;
  restore?: object;
  facts?: object;
}

/** A pod of class kcr, protected, dumped well, on a node that is as it should be. */
function facts({
  container,
  spec,
  podStatus,
  annotations,
  status,
  node,
  info,
  nodeStatus,
  selftest,
  restore,
  facts: more,
}: Given = {}): Facts {
  const result = { result: "ready", message: "restored", time: "2026-01-01T11:55:00Z" };
  return {
    container: "app",
    program: "kcr",
    again: " -n ns",
    pod: {
      metadata: { name: "p", namespace: "ns", uid: "u", labels: { app: "p" }, annotations },
      spec: { nodeName: "n", runtimeClassName: "kcr", containers: [{ name: "app", ...container }], ...spec },
      status: {
        phase: "Running",
        containerStatuses: [{ name: "app", restartCount: 0, state: { running: {} }, ...status }],
        ...podStatus,
      },
    },
    node: {
      value: {
        metadata: {
          name: "n",
          labels: { "kcr.io/runtime": "ready" },
          annotations:
            selftest === null ? {} : { [SELFTEST_ANNOTATION]: JSON.stringify({ ...result, ...selftest }) },
          ...node,
        },
        status: {
          conditions: [ready],
          runtimeHandlers: [{ name: "kcr" }],
          nodeInfo: {
            operatingSystem: "linux",
            kubeletVersion: "v1.36.3",
            containerRuntimeVersion: "containerd://2.4.2",
            kernelVersion: "6.18.5",
            ...info,
          },
          ...nodeStatus,
        },
      },
    },
    handlerNodes: { value: [readyNode] },
    agent: { value: { metadata: { name: "kcr-agent-x" }, status: { conditions: [ready] } } },
    schedules: {
      value: [
        {
          metadata: { name: "p" },
          spec: { schedule: "@hourly", selector: { matchLabels: { app: "p" } }, restore },
        },
      ],
    },
    checkpoints: { value: [good()] },
    requests: { value: [] },
    settings: config(),
    runtimeClass: { value: { metadata: { name: "kcr" }, handler: "kcr" } },
    webhook: { value: { metadata: { name: "kcr" }, webhooks: [{ clientConfig: { caBundle: "x" } }] } },
    memory: { value: 100e6 },
    ...more,
  } as unknown as Facts;
}

const good = (status: object = {}) => ({
  metadata: { name: "p-1" },
  spec: { checkpointTimestamp: "2026-01-01T11:50:00Z" },
  status: {
    conditions: [{ type: "Restorable", status: "True" }],
    sizeBytes: 100e6,
    pausedMicroseconds: 200_000,
    ...status,
  },
});
const failed = (reason: string, message = "said") => ({
  value: [
    {
      metadata: { name: "r" },
      spec: {},
      status: { phase: "Failed", reason, message, completionTime: "2026-01-01T11:58:00Z" },
    },
  ],
});
const none = { value: [] };
const plain = { runtimeClassName: undefined };
const mount = (volume: object, more: object = {}): Given => ({
  container: { volumeMounts: [{ name: "v", mountPath: "/data" }] },
  spec: { volumes: [{ name: "v", ...volume }], ...more },
});

it("of a healthy pod finds nothing to say but that it is well", () => {
  const findings = decide(facts(), now);
  expect(findings.filter(({ verdict }) => verdict !== "ok")).toEqual([]);
  expect(verdictOf(findings)).toBe("ok");
  expect(findings.map(({ topic }) => topic)).toEqual([
    ...["running", "agent", "node", "runtime", "handler", "criu"],
    ...["last dump", "pause", "protection", "restore"],
  ]);
});

describe("a check", () => {
  it.each<[string, Given, topic: string, Verdict, RegExp]>([
    ["of a pod that is not running", { podStatus: { phase: "Pending" } }, "running", "no", /pod is Pending/],
    [
      "of a container that is not",
      { status: { state: { waiting: { reason: "ErrImagePull" } } } },
      "running",
      "no",
      /does not run: ErrImagePull/,
    ],
    [
      "without an agent",
      { facts: { agent: { value: undefined } } },
      "agent",
      "no",
      /no agent of kcr is on n/,
    ],
    [
      "with an agent that is not ready",
      {
        facts: {
          agent: {
            value: {
              metadata: { name: "a" },
              status: { conditions: [{ ...ready, status: "False" }] },
            } as never,
          },
        },
      },
      "agent",
      "no",
      /a on n is not ready, since 60m ago/,
    ],
    ["that may not see agents", { facts: { agent: { why: "forbidden" } } }, "agent", "unknown", /forbidden/],
    ["on Windows", { info: { operatingSystem: "windows" } }, "node", "no", /runs windows/],
    [
      "with an old kubelet",
      { info: { kubeletVersion: "v1.29.1" } },
      "node",
      "warning",
      /ContainerCheckpoint/,
    ],
    ["on a node that is not seen", { facts: { node: { why: "forbidden" } } }, "node", "unknown", /forbidden/],
    [
      "on a node that is not Ready",
      { nodeStatus: { conditions: [{ ...ready, status: "Unknown" }] } },
      "node",
      "no",
      /n is not Ready/,
    ],
    [
      "with engine runc, whatever the kubelet",
      { info: { kubeletVersion: "v1.29.1" }, facts: { settings: config({ engine: "runc" }) } },
      "node",
      "ok",
      /the agent dumps by itself/,
    ],
    [
      "with containerd 1",
      { info: { containerRuntimeVersion: "containerd://1.7.2" } },
      "runtime",
      "no",
      /cannot/,
    ],
    [
      "with CRI-O",
      { info: { containerRuntimeVersion: "cri-o://1.34.0" } },
      "runtime",
      "unknown",
      /enable_criu/,
    ],
    [
      "on a node without the handler",
      { node: { labels: {} }, selftest: null, spec: plain },
      "handler",
      "warning",
      /not passed/,
    ],
    [
      "on a node whose self-test failed",
      { selftest: { result: "failed", message: "no criu" } },
      "handler",
      "warning",
      /failed its self-test: no criu/,
    ],
    ["without a self-test", { selftest: null }, "criu", "unknown", /6.18.5 needs 4.2/],
    ["with users of its own", { spec: { hostUsers: false } }, "user namespace", "no", /hostUsers/],
    ["among its host's processes", { spec: { hostPID: true } }, "processes", "no", /hostPID/],
    ["with shared processes", { spec: { shareProcessNamespace: true } }, "processes", "no", /shareProcess/],
    [
      "of a program that is not root's, never dumped",
      { container: { securityContext: { runAsNonRoot: true } }, facts: { checkpoints: none } },
      "user",
      "unknown",
      /CAP_SYS_RESOURCE/,
    ],
    [
      "of the same, dumped before",
      { spec: { securityContext: { runAsUser: 1000 } } },
      "user",
      "ok",
      /runs as user 1000, and could be dumped/,
    ],
    [
      "with a GPU",
      { container: { resources: { limits: { "nvidia.com/gpu": "1" } } } },
      "devices",
      "no",
      /nvidia/,
    ],
    [
      "with another device",
      { container: { resources: { limits: { "x.io/fpga": "1" } } } },
      "devices",
      "warning",
      /fpga/,
    ],
    ["with an emptyDir", mount({ emptyDir: {} }), "volumes", "ok", /\/data: emptyDir.*up to 1.0 GiB/],
    [
      "with an emptyDir, without the handler",
      mount({ emptyDir: {} }, plain),
      "volumes",
      "warning",
      /not of class kcr/,
    ],
    [
      "with a shared emptyDir",
      mount(
        { emptyDir: {} },
        {
          containers: ["app", "other"].map((name) => ({
            name,
            volumeMounts: [{ name: "v", mountPath: "/data" }],
          })),
        },
      ),
      "volumes",
      "warning",
      /other containers mount/,
    ],
    [
      "with a claim",
      mount({ persistentVolumeClaim: { claimName: "c" } }),
      "volumes",
      "warning",
      /\/data \(claim c\)/,
    ],
    ["with a path of its host", mount({ hostPath: { path: "/x" } }), "volumes", "warning", /host path \/x/],
    [
      "with a claim that is ignored",
      { ...mount({ persistentVolumeClaim: { claimName: "c" } }), restore: { volumes: "Ignore" } },
      "volumes",
      "warning",
      /Ignore/,
    ],
    [
      "with an emptyDir that is refused",
      { ...mount({ emptyDir: {} }), restore: { volumes: "Refuse" } },
      "volumes",
      "warning",
      /\/data \(emptyDir\)/,
    ],
    [
      "with variables from the pod's fields",
      {
        container: {
          env: [
            { name: "IP", valueFrom: { fieldRef: {} } },
            { name: "A", value: "b" },
          ],
        },
      },
      "environment",
      "warning",
      /^IP comes/,
    ],
    [
      "near its memory limit",
      { container: { resources: { limits: { memory: "100M" } } } },
      "memory",
      "warning",
      /95.4 MiB of its limit/,
    ],
    [
      "of what uses io_uring",
      { facts: { requests: failed("IoUringInUse") } },
      "last dump",
      "no",
      /failed: IoUringInUse/,
    ],
    [
      "after a chance failure",
      { facts: { requests: failed("ProcessBusy") } },
      "last dump",
      "warning",
      /2m ago, failed/,
    ],
    ["of what was never dumped", { facts: { checkpoints: none } }, "last dump", "unknown", /tcp-close/],
    [
      "with a liveness probe that is patient",
      { container: { livenessProbe: {} } },
      "pause",
      "ok",
      /200 ms \(as the last time\); its liveness probe bears 30 s/,
    ],
    [
      "with one that is not",
      {
        container: { livenessProbe: { periodSeconds: 1, failureThreshold: 2 } },
        facts: { memory: { value: 2e9 } },
      },
      "pause",
      "warning",
      /about 4.0 s .* ended after 2 s/,
    ],
    [
      "by what an engine does, of what was never dumped",
      { facts: { checkpoints: none, memory: { value: 1e9 } } },
      "pause",
      "ok",
      /about 4.0 s \(estimated from 954 MiB\)/,
    ],
    [
      "of unknown size",
      { facts: { checkpoints: none, memory: { why: "no metrics" } } },
      "pause",
      "unknown",
      /no metrics/,
    ],
    ["of what nobody protects", { facts: { schedules: none } }, "protection", "warning", /no schedule/],
    ["with a class of its own", { spec: { runtimeClassName: "gvisor" } }, "restore", "no", /OwnRuntimeClass/],
    ["of a pod that is too old", { spec: plain }, "restore", "warning", /RuntimeFromNextPod/],
    [
      "of the same, without the webhook",
      { spec: plain, facts: { webhook: { value: undefined } } },
      "class",
      "no",
      /webhook is not/,
    ],
    [
      "without any handler",
      { spec: plain, facts: { handlerNodes: { value: [] } } },
      "restore",
      "no",
      /NoHandlerNode/,
    ],
    [
      "where images are restored",
      { spec: plain, info: { containerRuntimeVersion: "containerd://2.3.2" } },
      "restore",
      "ok",
      /^Image/,
    ],
    [
      "that may not see settings",
      { spec: plain, facts: { settings: { why: "forbidden" } } },
      "restore",
      "unknown",
      /forbidden/,
    ],
    [
      "by what the operator said",
      {
        spec: plain,
        podStatus: {
          conditions: [
            {
              type: "kcr.io/Strategy",
              status: "True",
              reason: "ImageRestore",
              message: "Image: it is given one",
            },
          ],
        },
        facts: { settings: { why: "forbidden" } },
      },
      "restore",
      "ok",
      /^Image \(ImageRestore\): it is given one/,
    ],
    [
      "of an image that is never pulled",
      { spec: plain, container: { imagePullPolicy: "Never" } },
      "image",
      "warning",
      /imagePullPolicy/,
    ],
    [
      "of a pod without the pull secret that checkpoint images take",
      { spec: plain, facts: { settings: config({ registry: { push: "r.example", pullSecrets: ["s"] } }) } },
      "image",
      "warning",
      /names none/,
    ],
    [
      "of a static pod",
      { annotations: { "kubernetes.io/config.mirror": "x" } },
      "processes",
      "no",
      /static pod/,
    ],
    [
      "that may not see requests",
      { facts: { requests: { why: "forbidden" } } },
      "last dump",
      "unknown",
      /forbidden/,
    ],
    [
      "that may not see schedules",
      { facts: { schedules: { why: "forbidden" } } },
      "protection",
      "unknown",
      /forbidden/,
    ],
    [
      "where images may be restored",
      { spec: plain, info: { containerRuntimeVersion: "containerd://2.3.7" } },
      "restore",
      "unknown",
      /ImageIfConfigured/,
    ],
    [
      "by what a later operator said",
      {
        spec: plain,
        podStatus: { conditions: [{ type: "kcr.io/Strategy", status: "True", reason: "New", message: "x" }] },
        facts: { settings: { why: "forbidden" } },
      },
      "restore",
      "unknown",
      /^Image \(New\): x/,
    ],
    [
      "without the class",
      { spec: plain, facts: { runtimeClass: { value: undefined } } },
      "class",
      "no",
      /no RuntimeClass kcr/,
    ],
    [
      "that may not see the webhook",
      { spec: plain, facts: { webhook: { why: "forbidden" } } },
      "class",
      "unknown",
      /forbidden/,
    ],
    [
      "with a webhook that has no certificates",
      { spec: plain, facts: { webhook: { value: { webhooks: [{ clientConfig: {} }] } } } },
      "class",
      "warning",
      /no certificates/,
    ],
    ["with all that it takes", { spec: plain }, "class", "ok", /new pods get class kcr, on r1/],
    [
      "of what is kept off the nodes with the handler",
      { spec: { ...plain, nodeSelector: { disk: "fast" } } },
      "class",
      "no",
      /no node that its pods may be on/,
    ],
    [
      "between two starts",
      { status: { state: { waiting: { reason: "CrashLoopBackOff" } } } },
      "back-off",
      "warning",
      /CrashLoopBackOff/,
    ],
    [
      "of what is never started again",
      { spec: { restartPolicy: "Never" } },
      "restarts",
      "warning",
      /restartPolicy/,
    ],
    [
      "soon after a crash",
      { status: { restartCount: 2, lastState: { terminated: { finishedAt: "2026-01-01T11:58:30Z" } } } },
      "back-off",
      "warning",
      /ended 90s ago \(restart 2\)/,
    ],
  ])("%s", (_what, given, topic, verdict, message) => {
    const findings = decide(facts(given), now).filter((finding) => finding.topic === topic);
    const found = findings.find((finding) => finding.verdict === verdict);
    expect(found?.message, JSON.stringify(findings)).toMatch(message);
  });

  it("says the worst first, and is as bad as that", () => {
    const findings = decide(facts({ spec: { hostPID: true, restartPolicy: "Never" } }), now);
    expect(findings.slice(0, 2).map(({ verdict }) => verdict)).toEqual(["no", "warning"]);
    expect(verdictOf(findings)).toBe("no");
  });

  it("minds no failure that a good Checkpoint came after", () => {
    const newer = { ...good(), spec: { checkpointTimestamp: "2026-01-01T11:59:00Z" } };
    const findings = decide(
      facts({ facts: { requests: failed("IoUringInUse"), checkpoints: { value: [newer] } } }),
      now,
    );
    expect(findings.find(({ topic }) => topic === "last dump")?.verdict).toBe("ok");
  });
});
