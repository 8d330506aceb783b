import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { controlPlaneFiles, type Files, type Keys, kubeconfigOf, subjects, workerFiles } from "./config.ts";
import { createAuthority, createKey, issue } from "./pki.ts";
import { planCluster } from "./plan.ts";

const plan = planCluster({ name: "kcr", index: 3, containerd: ["2.3", "2.4"], maxRestartPeriod: "30s" });
const authority = createAuthority("test");
const keys: Keys = {
  authority,
  serviceAccounts: createKey(),
  issued: Object.fromEntries(
    Object.entries(subjects(plan)).map(([name, subject]) => [name, issue(authority, subject)]),
  ),
};
const pauseImage = "registry.kcr.local:5000/kcr-test/pause:1";
const controlPlane = controlPlaneFiles(plan, keys);
const [first, second] = plan.workers.map((worker) =>
  workerFiles(plan, worker, keys, { cgroup: `/kcr/kcr/${worker.name}`, pauseImage }),
) as [Files, Files];

const service = (files: Files, name: string) => files[`/etc/kcr/services/${name}`] ?? "";
const kubelet = (files: Files) => JSON.parse(files["/etc/kcr/kubelet.json"]!);

test("only containerd 2.3 is told to restore from images: later ones refuse a setting they do not know", () => {
  expect(first["/etc/kcr/containerd.toml"]).toContain("enable_experimental_restore_via_create = true");
  expect(second["/etc/kcr/containerd.toml"]).not.toContain("enable_experimental_restore_via_create");
});

test("both find the pause image and the registry", () => {
  for (const files of [first, second]) {
    expect(files["/etc/kcr/containerd.toml"]).toContain(`sandbox = '${pauseImage}'`);
    expect(files["/etc/kcr/certs.d/registry.kcr.local:5000/hosts.toml"]).toContain(
      `[host."http://10.193.0.2:5000"]`,
    );
  }
});

test("each kubelet has its node's addresses, group and restart period", () => {
  expect(service(second, "kubelet")).toContain("'--node-ip=10.193.0.12'");
  expect(kubelet(second)).toMatchObject({
    cgroupRoot: "/kcr/kcr/worker-2",
    crashLoopBackOff: { maxContainerRestartPeriod: "30s" },
    tlsCertFile: "/etc/kcr/kubelet-serving-worker-2.crt",
    authentication: { anonymous: { enabled: false } },
  });
  expect(first["/etc/kcr/cni/10-kcr.conflist"]).toContain("10.193.1.0/24");
  expect(second["/etc/kcr/cni/10-kcr.conflist"]).toContain("10.193.2.0/24");
});

test("certificates name whom Kubernetes takes their owners for, and the addresses they are reached at", () => {
  const kubeletServing = new X509Certificate(second["/etc/kcr/kubelet-serving-worker-2.crt"]!);
  expect(kubeletServing.checkIP("10.193.0.12")).toBeDefined();
  expect(kubeletServing.checkIssued(new X509Certificate(authority.cert))).toBe(true);
  const server = new X509Certificate(controlPlane["/etc/kcr/apiserver.crt"]!);
  for (const ip of ["10.193.0.2", "10.193.255.1"]) expect(server.checkIP(ip), ip).toBe(ip);
  expect(server.checkHost("kubernetes.default.svc")).toBeDefined();
  const user = JSON.parse(first["/etc/kcr/kubelet.kubeconfig"]!).users[0].user;
  const client = new X509Certificate(Buffer.from(user["client-certificate-data"], "base64"));
  expect(client.subject).toBe("O=system:nodes\nCN=system:node:worker-1");
});

test("no worker holds the keys that make others", () => {
  for (const secret of [authority.key, keys.serviceAccounts.key, keys.issued["admin"]!.key]) {
    for (const [path, content] of Object.entries(first)) expect(content, path).not.toContain(secret);
  }
  expect(JSON.stringify(first)).not.toContain(
    Buffer.from(keys.issued["kubelet-worker-2"]!.key).toString("base64"),
  );
});

test("every file that a program is told to read is there", () => {
  for (const [name, files] of Object.entries({ controlPlane, first, second })) {
    const named = Object.values(files).flatMap(
      (content) => content.match(/\/etc\/kcr\/[\w.-]+\.(?:crt|key|pub|json|toml|yaml|kubeconfig)\b/g) ?? [],
    );
    expect(named.length).toBeGreaterThan(3);
    for (const path of named) expect(Object.keys(files), name).toContain(path);
  }
});

test("etcd, which asks nobody who they are, listens on loopback alone", () => {
  const urls = service(controlPlane, "etcd").match(/http:\/\/[^']+/g) ?? [];
  expect(urls.length).toBeGreaterThan(3);
  for (const url of urls) expect(new URL(url.replace("default=", "")).hostname).toBe("127.0.0.1");
});

test("an administrator's kubeconfig leads to the API server", () => {
  const config = JSON.parse(kubeconfigOf(plan, keys, "admin"));
  expect(config.clusters[0].cluster.server).toBe("https://10.193.0.2:6443");
});
