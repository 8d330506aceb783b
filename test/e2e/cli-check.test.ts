import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { configMaps, type Pod, pods, secrets } from "../../src/kube/resources.ts";
import { kcr, spawnKcr } from "../support/cli.ts";
import { capture, deployProtected } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");
const SECRET = "planted-5d41402a";

interface Finding {
  topic: string;
  verdict: string;
  message: string;
  code?: string;
}

describe.skipIf(cluster === undefined)("what the cluster's pods are like", () => {
  let world: World;
  let work: string;
  let healthy: Pod;
  beforeAll(async () => {
    world = await World.enter(cluster!, "check");
    work = await mkdtemp(join(tmpdir(), "kcr-check-"));
    const containers = [{ ...counter(world), env: [{ name: "PASSWORD", value: SECRET }] }];
    healthy = await deployProtected(world, { schedule: RARELY, containers });
    await capture(world, healthy);
  });
  afterAll(async () => {
    await rm(work, { recursive: true });
    await world.leave();
  });

  /** What a check finds of a pod. */
  async function findings(name: string): Promise<Finding[]> {
    const { code, stdout, stderr } = await kcr(world, ["check", `pod/${name}`, "-o", "json"]);
    expect(stderr).toBe("");
    const report = JSON.parse(stdout) as { verdict: string; findings: Finding[] };
    expect(code).toBe(report.verdict === "no" ? 3 : 0);
    return report.findings;
  }
  /** A pod of somebody who does without kcr; it need not come to run. */
  const create = (name: string, spec: object, container: object) =>
    world.client.create(pods, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: world.namespace },
      spec: {
        nodeName: world.worker("2.4"),
        terminationGracePeriodSeconds: 0,
        automountServiceAccountToken: false,
        containers: [{ name: "app", ...counter(world), ...container }],
        ...spec,
      },
    } as unknown as Pod);
  const about = (all: Finding[], topic: string) => all.find((finding) => finding.topic === topic);

  it("a healthy one can be checkpointed and restored, as far as a check can see", async () => {
    const { code, stdout } = await spawnKcr(world, ["check", "deploy/app"]);
    expect(stdout).toMatch(new RegExp(`^pod/${healthy.metadata.name}, container app on worker-1\n`));
    expect(stdout).toMatch(/ok +handler +worker-1 has the runtime handler ready: its self-test passed/);
    expect(stdout).toMatch(/ok +last dump .* is good: /);
    expect(stdout).toMatch(/ok +pause +it stands still for at most .*; no liveness probe minds/);
    expect(stdout).toMatch(/ok +restore +Runtime \(HandlerClass\)/);
    expect(stdout).not.toMatch(/^ +(no|warning|not known) /m);
    expect(stdout).toMatch(/^Yes\.$/m);
    expect(code).toBe(0);
  });

  it("one without protection is told the way to it", async () => {
    await create("plain", {}, { securityContext: { runAsUser: 1000 } });
    await waitFor("the pod to run", async () => (await world.pod("plain")).status?.phase === "Running");
    const all = await findings("plain");
    expect(about(all, "protection")).toMatchObject({ verdict: "warning" });
    expect(about(all, "restore")?.message).toMatch(/RuntimeFromNextPod/);
    expect(about(all, "class")).toMatchObject({ verdict: "ok" });
    expect(about(all, "last dump")).toMatchObject({ verdict: "unknown" });
    expect(about(all, "pause")?.message).toMatch(/no metrics/);
    expect(about(all, "user")).toMatchObject({ verdict: "unknown", code: "LimitsUnreadable" });
    expect(all.filter(({ verdict }) => verdict === "no")).toEqual([]);
  });

  it("one with a problem is told which, and exit code 3 says so to scripts where it is in the way", async () => {
    const hostPath = { name: "v", hostPath: { path: "/tmp" } };
    const problems: [name: string, spec: object, container: object, topic: string, expected: object][] = [
      ["host-pid", { hostPID: true }, {}, "processes", { verdict: "no", code: "PidTaken" }],
      ["shared", { shareProcessNamespace: true }, {}, "processes", { verdict: "no", code: "PidTaken" }],
      [
        "users",
        { hostUsers: false },
        {},
        "user namespace",
        { verdict: "no", code: "UserNamespaceUnsupported" },
      ],
      [
        "gpu",
        {},
        { resources: { limits: { "nvidia.com/gpu": "1" } } },
        "devices",
        { verdict: "no", code: "DeviceInUse" },
      ],
      ["no-image", {}, { image: "nowhere.invalid/x:1" }, "running", { verdict: "no" }],
      [
        "host-path",
        { volumes: [hostPath] },
        { volumeMounts: [{ name: "v", mountPath: "/host" }] },
        "volumes",
        { verdict: "warning", code: "VolumeStateDiverges" },
      ],
      [
        "own-address",
        {},
        { env: [{ name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } }] },
        "environment",
        { verdict: "warning" },
      ],
      ["once", { restartPolicy: "Never" }, {}, "restarts", { verdict: "warning" }],
    ];
    await Promise.all(problems.map(([name, spec, container]) => create(name, spec, container)));
    for (const [name, , , topic, expected] of problems) {
      const all = await findings(name);
      expect(about(all, topic), `${name}: ${JSON.stringify(all)}`).toMatchObject(expected);
    }
  });

  it("a user who may only look is told what is not known", async () => {
    const { namespace, cluster } = world;
    await cluster.kubectl(["-n", namespace, "create", "serviceaccount", "viewer"]);
    const account = `--serviceaccount=${namespace}:viewer`;
    await cluster.kubectl([
      "-n",
      namespace,
      "create",
      "rolebinding",
      "viewer",
      "--clusterrole=view",
      account,
    ]);
    const token = (await cluster.kubectl(["-n", namespace, "create", "token", "viewer"])).trim();
    const admin = JSON.parse(await readFile(cluster.kubeconfigPath, "utf8"));
    admin.users[0].user = { token };
    const kubeconfig = join(work, "viewer.kubeconfig");
    await writeFile(kubeconfig, JSON.stringify(admin));
    // Rights reach the API server's authorizer a moment after they were given.
    const { code, stdout } = await waitFor("the viewer's rights", async () => {
      const ended = await kcr(world, ["check", "deploy/app"], { kubeconfig });
      return !ended.stderr.includes("ApiForbidden") && ended;
    });
    expect(stdout).toMatch(/not known +agent +kcr's agents: you may not read them/);
    expect(stdout).toMatch(/ok +restore +Runtime/);
    expect(stdout).toMatch(/^Yes, as far as can be seen from here\.$/m);
    expect(code).toBe(0);
  });

  it("what does not exist is an error with a code", async () => {
    const { code, stdout, stderr } = await kcr(world, ["check", "pod/nobody"]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^error: pods "nobody" not found \(ApiNotFound\)$/m);
  });

  it("a support bundle tells a maintainer, without anybody's secrets", async () => {
    const metadata = { namespace: world.namespace, name: "planted" };
    const data = { key: SECRET };
    await world.client.create(configMaps, { apiVersion: "v1", kind: "ConfigMap", metadata, data });
    await world.client.create(secrets, { apiVersion: "v1", kind: "Secret", metadata, stringData: data });
    const file = join(work, "bundle.tgz");
    const { code, stdout, stderr } = await kcr(world, ["support-bundle", "-o", file]);
    expect([code, stderr]).toEqual([0, expect.not.stringContaining("error")]);
    expect(stdout).toMatch(/bundle\.tgz: \d+ files, /);
    execFileSync("tar", ["xzf", file, "-C", work]);
    const text = execFileSync("grep", ["-r", "", join(work, "bundle")], {
      encoding: "utf8",
      maxBuffer: 256 << 20,
    });
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(Buffer.from(SECRET).toString("base64"));
    expect(text).not.toMatch(/BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{20,}\./);
    for (const wanted of [
      "nodes.json",
      "events.json",
      "objects/checkpoints.json",
      "kcr-system/logs/kcr-operator-",
    ])
      expect(text).toContain(`${work}/bundle/${wanted}`);
    expect(text).toContain('"PASSWORD"');
    expect(text).toContain(`"namespace": "${world.namespace}"`);
    expect(await readFile(join(work, "bundle/not-read.txt"), "utf8")).toBe("");
  });
});
