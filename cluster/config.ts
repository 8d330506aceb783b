import { kubeconfig } from "./kubeconfig.ts";
import type { KeyPair, Subject } from "./pki.ts";
import type { ClusterPlan, WorkerPlan } from "./plan.ts";

/**
 * The configuration of every part, as files of a node's root: pure functions of the plan and the keys.
 */

/** Absolute path in the node -> contents. All are readable by root alone. */
export type Files = Record<string, string>;

/** The keys of one cluster. */
export interface Keys {
  authority: KeyPair;
  serviceAccounts: { key: string; publicKey: string };
  /** The certificate for a name of `subjects`. */
  issued: Record<string, KeyPair>;
}

export const registryName = "registry.kcr.local:5000";
export const registryPort = 5000;
export const apiPort = 6443;

/** Where the parts of a node find their own files, and their data (on a real file system). */
const etc = "/etc/kcr";
const clusterDomain = "cluster.local";

/** Whom certificates are needed for, by the name under which `Keys.issued` has them. */
export function subjects(plan: ClusterPlan): Record<string, Subject> {
  const { ip } = plan.controlPlane;
  const wanted: Record<string, Subject> = {
    admin: { commonName: "kubernetes-admin", organizations: ["system:masters"] },
    apiserver: {
      commonName: "kube-apiserver",
      names: [
        ip,
        plan.services.api,
        "127.0.0.1",
        "localhost",
        ...["", ".default", ".default.svc", `.default.svc.${clusterDomain}`].map((end) => `kubernetes${end}`),
      ],
    },
    "apiserver-kubelet-client": {
      commonName: "kube-apiserver-kubelet-client",
      organizations: ["system:masters"],
    },
    "controller-manager": { commonName: "system:kube-controller-manager" },
    scheduler: { commonName: "system:kube-scheduler" },
    "kube-proxy": { commonName: "system:kube-proxy" },
  };
  for (const { name, ip } of plan.workers) {
    wanted[`kubelet-${name}`] = { commonName: `system:node:${name}`, organizations: ["system:nodes"] };
    wanted[`kubelet-serving-${name}`] = {
      commonName: `system:node:${name}`,
      organizations: ["system:nodes"],
      names: [ip, name],
    };
  }
  return wanted;
}

export function apiUrl(plan: ClusterPlan): string {
  return `https://${plan.controlPlane.ip}:${apiPort}`;
}

/** A kubeconfig for one of `subjects`. */
export function kubeconfigOf(plan: ClusterPlan, keys: Keys, subject: string): string {
  return kubeconfig({ url: apiUrl(plan), ca: keys.authority.cert }, issued(keys, subject));
}

export function controlPlaneFiles(plan: ClusterPlan, keys: Keys): Files {
  const { ip } = plan.controlPlane;
  const etcdUrl = "http://127.0.0.1:2379";
  const peerUrl = "http://127.0.0.1:2380";
  return {
    ...hostFiles(plan, plan.controlPlane.name),
    [`${etc}/ca.crt`]: keys.authority.cert,
    [`${etc}/ca.key`]: keys.authority.key,
    [`${etc}/sa.key`]: keys.serviceAccounts.key,
    [`${etc}/sa.pub`]: keys.serviceAccounts.publicKey,
    ...pairFiles("apiserver", keys),
    ...pairFiles("apiserver-kubelet-client", keys),
    [`${etc}/controller-manager.kubeconfig`]: kubeconfigOf(plan, keys, "controller-manager"),
    [`${etc}/scheduler.kubeconfig`]: kubeconfigOf(plan, keys, "scheduler"),
    ...service("etcd", [
      "etcd",
      "--data-dir=/var/lib/etcd",
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      "--unsafe-no-fsync", // a cluster for trying things out: speed counts, a power cut does not
      "--log-level=warn",
    ]),
    ...service("kube-apiserver", [
      "kube-apiserver",
      `--etcd-servers=${etcdUrl}`,
      `--advertise-address=${ip}`,
      `--secure-port=${apiPort}`,
      `--service-cluster-ip-range=${plan.services.subnet}`,
      "--authorization-mode=Node,RBAC",
      "--enable-admission-plugins=NodeRestriction",
      "--allow-privileged=true",
      `--client-ca-file=${etc}/ca.crt`,
      `--tls-cert-file=${etc}/apiserver.crt`,
      `--tls-private-key-file=${etc}/apiserver.key`,
      `--kubelet-certificate-authority=${etc}/ca.crt`,
      `--kubelet-client-certificate=${etc}/apiserver-kubelet-client.crt`,
      `--kubelet-client-key=${etc}/apiserver-kubelet-client.key`,
      "--kubelet-preferred-address-types=InternalIP",
      `--service-account-issuer=https://kubernetes.default.svc.${clusterDomain}`,
      `--service-account-signing-key-file=${etc}/sa.key`,
      `--service-account-key-file=${etc}/sa.pub`,
      // Webhooks and aggregated APIs are reached at their pods' addresses: no kube-proxy runs here.
      "--enable-aggregator-routing=true",
    ]),
    ...service("kube-controller-manager", [
      "kube-controller-manager",
      `--kubeconfig=${etc}/controller-manager.kubeconfig`,
      "--use-service-account-credentials=true",
      `--service-account-private-key-file=${etc}/sa.key`,
      `--root-ca-file=${etc}/ca.crt`,
      `--cluster-signing-cert-file=${etc}/ca.crt`,
      `--cluster-signing-key-file=${etc}/ca.key`,
      "--leader-elect=false",
    ]),
    ...service("kube-scheduler", [
      "kube-scheduler",
      `--kubeconfig=${etc}/scheduler.kubeconfig`,
      "--leader-elect=false",
    ]),
    [`${etc}/registry.yaml`]: json({
      version: 0.1,
      log: { level: "warn", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: "/var/lib/registry" }, delete: { enabled: true } },
      http: { addr: `:${registryPort}`, secret: `kcr-${plan.name}` },
    }),
    ...service("registry", ["env", "OTEL_TRACES_EXPORTER=none", "registry", "serve", `${etc}/registry.yaml`]),
  };
}

/** @param cgroup the group, absolute, under which the node's kubelet puts its pods. */
export function workerFiles(
  plan: ClusterPlan,
  worker: WorkerPlan,
  keys: Keys,
  { cgroup, pauseImage }: { cgroup: string; pauseImage: string },
): Files {
  return {
    ...hostFiles(plan, worker.name),
    "/etc/criu/runc.conf": "tcp-close\nskip-in-flight\nnetwork-lock skip\n",
    [`${etc}/ca.crt`]: keys.authority.cert,
    ...pairFiles(`kubelet-serving-${worker.name}`, keys),
    [`${etc}/kubelet.kubeconfig`]: kubeconfigOf(plan, keys, `kubelet-${worker.name}`),
    [`${etc}/kube-proxy.kubeconfig`]: kubeconfigOf(plan, keys, "kube-proxy"),
    [`${etc}/containerd.toml`]: containerdConfig(worker, pauseImage),
    [`${etc}/certs.d/${registryName}/hosts.toml`]: [
      `server = "http://${plan.controlPlane.ip}:${registryPort}"`,
      `[host."http://${plan.controlPlane.ip}:${registryPort}"]`,
      `  capabilities = ["pull", "resolve"]`,
      "",
    ].join("\n"),
    [`${etc}/cni/10-kcr.conflist`]: json({
      cniVersion: "1.0.0",
      name: "kcr",
      plugins: [
        {
          type: "bridge",
          bridge: "cni0",
          isGateway: true,
          hairpinMode: true,
          ipam: {
            type: "host-local",
            ranges: [[{ subnet: worker.podSubnet }]],
            routes: [{ dst: "0.0.0.0/0" }],
          },
        },
        { type: "portmap", capabilities: { portMappings: true }, backend: "nftables" },
      ],
    }),
    [`${etc}/kubelet.json`]: json(kubeletConfig(plan, worker, cgroup)),
    [`${etc}/kube-proxy.json`]: json({
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      mode: "nftables",
      hostnameOverride: worker.name,
      clientConnection: { kubeconfig: `${etc}/kube-proxy.kubeconfig` },
      clusterCIDR: plan.network,
      // Zero: leave the machine's own limits alone.
      conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    }),
    ...service("containerd", ["containerd", "--config", `${etc}/containerd.toml`, "--log-level", "info"]),
    ...service("kubelet", [
      "kubelet",
      `--config=${etc}/kubelet.json`,
      `--kubeconfig=${etc}/kubelet.kubeconfig`,
      `--hostname-override=${worker.name}`,
      `--node-ip=${worker.ip}`,
      `--node-labels=kcr.local/containerd=${worker.containerd}`,
    ]),
    ...service("kube-proxy", ["kube-proxy", `--config=${etc}/kube-proxy.json`]),
  };
}

function containerdConfig(worker: WorkerPlan, pauseImage: string): string {
  const runtime = "[plugins.'io.containerd.cri.v1.runtime'";
  const images = "[plugins.'io.containerd.cri.v1.images'";
  return [
    "version = 3",
    // Written at every boot of the node; what others add stays in its own files.
    "imports = ['/etc/containerd/conf.d/*.toml']",
    "oom_score = 0",
    `${runtime}]`,
    // A machine may lack CAP_SYS_RESOURCE, without which no process's OOM score can be lowered.
    "restrict_oom_score_adj = true",
    "disable_apparmor = true",
    // 2.3 restores from a checkpoint image only when told so; later versions do not know the setting.
    ...(worker.containerd === "2.3" ? ["enable_experimental_restore_via_create = true"] : []),
    `${runtime}.cni]`,
    "bin_dirs = ['/opt/kcr/cni']",
    `conf_dir = '${etc}/cni'`,
    `${runtime}.containerd]`,
    "default_runtime_name = 'runc'",
    `${runtime}.containerd.runtimes.runc]`,
    "runtime_type = 'io.containerd.runc.v2'",
    `${runtime}.containerd.runtimes.runc.options]`,
    "BinaryName = '/opt/kcr/runc/runc'",
    "SystemdCgroup = false",
    `${images}.pinned_images]`,
    `sandbox = '${pauseImage}'`,
    `${images}.registry]`,
    `config_path = '${etc}/certs.d'`,
    "",
  ].join("\n");
}

function kubeletConfig(plan: ClusterPlan, worker: WorkerPlan, cgroup: string): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    cgroupDriver: "cgroupfs",
    cgroupRoot: cgroup,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: [],
    // Tolerates that limits of the whole machine cannot be set.
    featureGates: { KubeletInUserNamespace: true },
    crashLoopBackOff: { maxContainerRestartPeriod: plan.maxRestartPeriod },
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: `${etc}/ca.crt` },
    },
    authorization: { mode: "Webhook" },
    tlsCertFile: `${etc}/kubelet-serving-${worker.name}.crt`,
    tlsPrivateKeyFile: `${etc}/kubelet-serving-${worker.name}.key`,
    clusterDomain,
    // Nobody answers there, at once: names are looked up in vain without a wait, and no pod gets a warning.
    clusterDNS: [plan.controlPlane.ip],
    resolvConf: "/etc/resolv.conf",
    serializeImagePulls: false,
    nodeStatusUpdateFrequency: "2s",
    // The disk is the machine's: how full it is says nothing about this cluster.
    evictionHard: {
      "memory.available": "100Mi",
      "nodefs.available": "0%",
      "nodefs.inodesFree": "0%",
      "imagefs.available": "0%",
    },
    imageGCHighThresholdPercent: 100,
  };
}

/** What every node has: its names, and no DNS. */
function hostFiles(plan: ClusterPlan, name: string): Files {
  const all = [plan.controlPlane, ...plan.workers];
  return {
    "/etc/hostname": `${name}\n`,
    "/etc/hosts": ["127.0.0.1 localhost", ...all.map((node) => `${node.ip} ${node.name}`), ""].join("\n"),
    "/etc/resolv.conf": "",
  };
}

function service(name: string, argv: readonly string[]): Files {
  const quoted = argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  return { [`${etc}/services/${name}`]: `exec ${quoted.join(" \\\n  ")}\n` };
}

function pairFiles(name: string, keys: Keys): Files {
  const { cert, key } = issued(keys, name);
  return { [`${etc}/${name}.crt`]: cert, [`${etc}/${name}.key`]: key };
}

function issued(keys: Keys, name: string): KeyPair {
  const pair = keys.issued[name];
  if (pair === undefined) throw new Error(`no certificate was issued for ${name}`);
  return pair;
}

const json = (value: object) => `${JSON.stringify(value, undefined, 2)}\n`;
