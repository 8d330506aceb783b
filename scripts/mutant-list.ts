/** A line of the product, broken, and the test that has to notice. */
export interface Mutant {
  /** What the broken product does. */
  fault: string;
  file: string;
  /** Exact text that occurs once in the file. */
  find: string;
  replace: string;
  test: {
    project: "unit" | "integration" | "e2e" | "disruptive";
    file: string;
    /** Part of the test's full name. */
    name: string;
  };
  /** Its test needs the local cluster. */
  slow?: boolean;
}

const unit = (file: string, name: string): Mutant["test"] => ({ project: "unit", file, name });
const integration = (file: string, name: string): Mutant["test"] => ({ project: "integration", file, name });
const e2e = (file: string, name: string) => ({
  test: { project: "e2e" as const, file: `test/e2e/${file}`, name },
  slow: true,
});
const disruptive = (file: string, name: string) => ({
  test: { project: "disruptive" as const, file: `test/e2e/disruptive/${file}`, name },
  slow: true,
});

const HANDLER = "src/runtime/decide.test.ts";
const FAST = "src/runtime/kcr-runtime.test.ts";
const DEMAND = "src/operator/demand/decide.test.ts";
const RESTORE = "src/operator/restore/decide.test.ts";
const PLAN = "src/agent/plan/decide.test.ts";
const PLANS = "src/agent/plan/plan.integration.test.ts";
const AGENT = "src/agent/agent.integration.test.ts";
const STORE = "src/agent/store/store.test.ts";
const COPIES = "src/agent/store/store.integration.test.ts";
const OPERATOR = "src/operator/operator.integration.test.ts";
const REGISTRY = "src/oci/registry.integration.test.ts";

export const mutants: readonly Mutant[] = [
  // workload -> schedule
  {
    fault: "a schedule is not owned by its Deployment, and outlives it",
    file: "src/operator/workload/controller.ts",
    find: "metadata: { ...target, ownerReferences: [ownerReference(workload, true)] },",
    replace: "metadata: { ...target },",
    test: integration(OPERATOR, "makes an owned schedule of an annotated Deployment"),
  },
  {
    fault: "a person's own schedule of the Deployment's name is taken over",
    file: "src/operator/workload/decide.ts",
    find: "const ours = existing?.ownerUID === workload.uid;",
    replace: "const ours = existing !== undefined;",
    test: unit("src/operator/workload/decide.test.ts", "never takes over a person's own schedule"),
  },
  {
    fault: "an annotation that is taken away leaves its schedule running",
    file: "src/operator/workload/decide.ts",
    find: 'return ours ? { type: "remove" } : { type: "nothing" };',
    replace: 'return { type: "nothing" };',
    test: unit("src/operator/workload/decide.test.ts", "whose annotation is gone removes the schedule"),
  },
  {
    fault: "a cron expression of six fields is taken for one of five",
    file: "src/api/cron.ts",
    find: "\\S+(\\s+\\S+){4})",
    replace: "\\S+(\\s+\\S+){4,5})",
    test: unit("src/api/cron.test.ts", "is refused for good"),
  },
  {
    fault: "a cron expression that never fires is tried again for ever",
    file: "src/api/cron.ts",
    find: "if (!run) throw",
    replace: "if (!run) return new Date(0);\n    if (!run) throw",
    test: unit("src/api/cron.test.ts", "is refused for good"),
  },

  // schedule -> request
  {
    fault: "the n-th tick fires n times",
    file: "src/operator/schedule/decide.ts",
    find: "(input.lastRunTime ?? input.createdTime).getTime()",
    replace: "input.createdTime.getTime()",
    test: unit("src/operator/schedule/decide.test.ts", "runs a slot once, however often it is looked at"),
  },
  {
    fault: "an empty selector selects every pod of the namespace",
    file: "src/api/selector.ts",
    find: "if (wanted.length === 0 && expressions.length === 0) return false;",
    replace: "",
    test: unit("src/api/selector.test.ts", "that is empty matches nothing"),
  },
  {
    fault: "matchExpressions are ignored",
    file: "src/api/selector.ts",
    find: "wanted.every(([key, value]) => labels[key] === value) &&",
    replace: "wanted.every(([key, value]) => labels[key] === value) ||",
    test: unit("src/api/selector.test.ts", "with matchExpressions is not ignored"),
  },
  {
    fault: "pods that are pending or being deleted are captured",
    file: "src/operator/schedule/targets.ts",
    find: ".filter((pod) => isRunning(pod) && matches(",
    replace: ".filter((pod) => matches(",
    test: unit("src/operator/schedule/decide.test.ts", "are the running pods"),
  },
  {
    fault: "always the first container is captured",
    file: "src/operator/schedule/targets.ts",
    find: "const names = spec.containers ?? (fallback",
    replace: "const names = (fallback",
    test: unit("src/operator/schedule/decide.test.ts", "are each named container"),
  },
  {
    fault: "label values over 63 characters are written, and refused",
    file: "src/api/names.ts",
    find: "export const labelValue = (text: string): string => shorten(text, MAX_LABEL);",
    replace: "export const labelValue = (text: string): string => text;",
    test: unit("src/api/names.test.ts", "of any length stay within the limits"),
  },
  {
    fault: "two containers of one pod in one slot have one name",
    file: "src/api/names.ts",
    find: 'c.container === c.defaultContainer ? "" :',
    replace: 'c.container !== "" ? "" :',
    test: unit("src/api/names.test.ts", "tell the containers of one pod apart"),
  },
  {
    fault: "workloads of one name in two namespaces share a repository",
    file: "src/api/names.ts",
    find: 'const parent = [...prefix.split("/").filter(Boolean), namespace].join("/");',
    replace: 'const parent = prefix.split("/").filter(Boolean).join("/");',
    test: unit("src/api/names.test.ts", "of two namespaces never share a repository"),
  },

  // request
  {
    fault: "a request may name another tenant's pod (operator)",
    file: "src/operator/request/decide.ts",
    find: "if (namespace !== undefined && namespace !== metadata.namespace) {",
    replace: "if (namespace === null) {",
    test: unit("src/operator/request/decide.test.ts", "for another namespace's pod is refused"),
  },
  {
    fault: "a request may name another tenant's pod (agent)",
    file: "src/agent/dump/decide.ts",
    find: "if (namespace !== undefined && namespace !== metadata.namespace) {",
    replace: "if (namespace === null) {",
    test: unit("src/agent/dump/decide.test.ts", "refuses a pod of another namespace"),
  },
  {
    fault: "a request in progress is stuck when its agent died",
    file: "src/operator/request/decide.ts",
    find: 'if (left > 0) return { type: "wait", untilMs: left };',
    replace: 'return { type: "wait", untilMs: Math.max(left, 1000) };',
    test: unit(
      "src/operator/request/decide.test.ts",
      "left in progress by a dead agent ends at its deadline",
    ),
  },
  {
    fault: "timeoutSeconds is never read",
    file: "src/agent/dump/decide.ts",
    find: 'return new Date(Date.parse(from ?? "") + timeout * 1000);',
    replace: 'return new Date(Date.parse(from ?? "") + (timeout, DEFAULT_TIMEOUT_SECONDS) * 1000);',
    test: unit("src/agent/dump/decide.test.ts", "reads timeoutSeconds"),
  },
  {
    fault: "the cluster's limit of dumps is not kept",
    file: "src/operator/request/room.ts",
    find: "return underWay + unseen.size < this.#limit;",
    replace: "return true;",
    test: unit("src/operator/request/room.test.ts", "counts requests that are with an agent"),
  },
  {
    fault: "one container is dumped twice at once",
    file: "src/agent/slots.ts",
    find: "if (this.#held.has(key) || this.#held.size >= this.#limit) return undefined;",
    replace: "if (this.#held.size >= this.#limit) return undefined;",
    test: unit("src/agent/slots.test.ts", "never two to one container"),
  },
  {
    fault: "a request that a killed agent left in progress begins anew, and its archive is lost",
    file: "src/agent/dump/decide.ts",
    find: 'if (begun) return { type: "resume", ...begun };',
    replace: "",
    test: integration(AGENT, "after the dump: its archive is adopted, though the pod is gone"),
  },
  {
    fault: "an archive that a killed dump left cut off stays on the node",
    file: "src/agent/dump/capture.ts",
    find: "else await archives.remove(file.name);",
    replace: "",
    test: unit("src/agent/dump/capture.test.ts", "is removed when it is cut off for good"),
  },
  {
    fault: "a container that has just restarted empty is captured",
    file: "src/api/records.ts",
    find: "(record.restore === undefined && record.containerID === containerID)",
    replace: "record.restore === undefined",
    test: unit("src/agent/dump/decide.test.ts", "does not dump:"),
  },
  {
    fault: "a container that restarted under the dump becomes the Checkpoint of the run before",
    file: "src/agent/dump/capture.ts",
    find: "if (identity.containerId !== lineage.containerID) {",
    replace: "if (identity.containerId === undefined) {",
    test: unit("src/agent/dump/capture.test.ts", "an archive of a later run"),
  },
  {
    fault: "a run that was to be restored and was not buries the state that it lacks",
    file: "src/agent/dump/capture.ts",
    find: "    restoredFrom !== undefined &&",
    replace: "    restoredFrom === null &&",
    test: unit("src/agent/dump/capture.test.ts", "a run that was to be restored and was not"),
  },
  {
    fault: "the image of a checkpoint of a restored container is taken for its base",
    file: "src/agent/dump/source.ts",
    find: "const baseImage = record?.originalImage ?? container.image ?? status.image;",
    replace: "const baseImage = container.image ?? status.image;",
    test: integration(AGENT, "makes a Checkpoint that tells whose state it is"),
  },

  // archive -> image
  {
    fault: "a path passes for an archive's name",
    file: "src/agent/archives.ts",
    find: '.refine((name) => !name.includes(".."))',
    replace: "",
    test: unit("src/agent/archives.test.ts", "as an archive's name"),
  },
  {
    fault: "a name that leads elsewhere is put into the kubelet's URL",
    file: "src/agent/kubelet.ts",
    find: "if (!schema.safeParse(name).success) throw",
    replace: "if (!schema) throw",
    test: unit("src/agent/kubelet.test.ts", "never asks for"),
  },
  {
    fault: "a kubelet's certificate is not verified",
    file: "src/agent/kubelet.ts",
    find: "rejectUnauthorized: kubelet.insecureSkipVerify !== true,",
    replace: "rejectUnauthorized: false,",
    test: unit("src/agent/kubelet.test.ts", "whose certificate another CA signed"),
  },
  {
    fault: "a damaged archive becomes a Checkpoint",
    file: "src/agent/inspect.ts",
    find: "if (!archive.isWhole) throw",
    replace: "if (archive.size < 0) throw",
    test: unit("src/agent/dump/capture.test.ts", "is waited for while it may still be written to"),
  },
  {
    fault: "an archive that is cut off passes for whole",
    file: "src/archive/checkpoint.ts",
    find: 'await check(() => assertImage(tar, "checkpoint/pstree.img", "pstree"));',
    replace: "",
    test: unit("src/archive/checkpoint.test.ts", "is not whole without checkpoint/pstree.img"),
  },
  {
    fault: "an archive is deleted although its image is not in the registry",
    file: "src/agent/image/controller.ts",
    find: "await verifyImage(registry, repository, digest as Digest, { signal });",
    replace: "",
    test: integration(AGENT, "an archive stays when its image is not in the registry after all"),
  },
  {
    fault: "an image that lacks a blob passes for whole",
    file: "src/oci/push.ts",
    find: "if (size === blob.size) continue;",
    replace: "if (size !== blob.size) continue;",
    test: integration(REGISTRY, "an image that lacks a blob does not pass for whole"),
  },
  {
    fault: "another tenant's archive is pushed for whoever names it",
    file: "src/agent/image/controller.ts",
    find: "if (!isOf(captured, ownerOf(checkpoint))) {",
    replace: "if (captured === undefined) {",
    test: integration(AGENT, "a Checkpoint that names another tenant's archive gets neither"),
  },
  {
    fault: "credentials go to a token service over plain HTTP",
    file: "src/oci/auth.ts",
    find: '(realm?.protocol === "http:" && plainHttp)) return realm;',
    replace: '(realm?.protocol === "http:")) return realm;',
    test: integration(REGISTRY, "no credentials go to a token service over plain HTTP"),
  },
  {
    fault: "why the registry does not take an image is not told",
    file: "src/agent/image/controller.ts",
    find: "      await reportRegistry(current, error);\n",
    replace: "",
    test: integration(AGENT, "while the registry is down the archive is kept and the reason told"),
  },
  {
    fault: "a Checkpoint goes before its archive",
    file: "src/operator/checkpoint/decide.ts",
    find: 'return nodeExists ? { type: "nothing" } : { type: "release-archive" };',
    replace: 'return { type: "release-archive" };',
    test: unit("src/operator/checkpoint/decide.test.ts", "not before the agent has removed the archive"),
  },

  // restore
  {
    fault: "a failed Checkpoint is restored from because it is the newest",
    file: "src/operator/restore/decide.ts",
    find: "if (isGood(c) && imageOf(c) !== undefined) return",
    replace: "if (imageOf(c) !== undefined) return",
    test: unit(RESTORE, "skips a newest checkpoint that failed for an older good one"),
  },
  {
    fault: "the checkpoint of an empty container buries the real one",
    file: "src/api/lineage.ts",
    find: "all.filter((c) => containerID && c.status?.lineage?.containerID === containerID)",
    replace: "all.filter(() => containerID)",
    test: unit("src/api/lineage.test.ts", "never holds the checkpoint of an empty container"),
  },
  {
    fault: "a person who went back to an older state is thrown forward again",
    file: "src/api/lineage.ts",
    find: "parent.spec.containerName) && newestFirst(c, parent) > 0,",
    replace: "parent.spec.containerName),",
    test: unit("src/api/lineage.test.ts", "goes back to the same older one"),
  },
  {
    fault: "a crash that the kubelet answered fast is not seen",
    file: "src/operator/restore/decide.ts",
    find: "if (idOf(status) === record.containerID) return undefined;",
    replace: "if (record) return undefined;",
    test: unit(RESTORE, "a container that failed"),
  },
  {
    fault: "a checkpoint that crashes at once is restored without end",
    file: "src/operator/restore/decide.ts",
    find: "crashes >= maxAttempts ? input",
    replace: "crashes < 0 ? input",
    test: unit(RESTORE, "at once is counted, and after maxAttempts"),
  },
  {
    fault: "the pod's image is changed although its node cannot pull",
    file: "src/operator/restore/decide.ts",
    find: "  if (obstacle !== undefined) {\n",
    replace: "  if (obstacle === null) {\n",
    test: unit(RESTORE, "leaves the pod's image untouched"),
  },

  // restores that a person asks for
  {
    fault: "a container is taken back before what it is was saved",
    file: "src/operator/demand/decide.ts",
    find: 'target.current.type === "running" && restore.spec.discardCurrent !== true',
    replace: "restore.spec.discardCurrent === true",
    test: unit(DEMAND, "first has saved what a running container is"),
  },
  {
    fault: "a run that came after the save is lost",
    file: "src/operator/demand/decide.ts",
    find: "saved.status?.lineage?.containerID !== current.containerID",
    replace: "saved.status?.lineage === undefined",
    test: unit(DEMAND, "a run that came after it is not lost"),
  },
  {
    fault: "memory of one image is restored into another",
    file: "src/operator/demand/fit.ts",
    find: "? theirs === own :",
    replace: "? theirs !== undefined :",
    test: unit(DEMAND, "is refused for another image"),
  },
  {
    fault: "a container is restarted before the node knows what with",
    file: "src/operator/demand/decide.ts",
    find: 'if (armed?.status !== "True") {',
    replace: 'if (armed?.status === "Unknown") {',
    test: unit(DEMAND, "nothing is rewritten before the agent has armed it"),
  },
  {
    fault: "a container that was restored is restarted once more",
    file: "src/operator/demand/decide.ts",
    find: "if (image !== originalImage) return outcome;",
    replace: "if (image === undefined) return outcome;",
    test: unit(DEMAND, "the container's image is then written otherwise, once"),
  },
  {
    fault: "two restores take one pod from each other",
    file: "src/operator/demand/decide.ts",
    find: "if (world.ahead !== undefined) {",
    replace: "if (world.ahead === null) {",
    test: unit(DEMAND, "waits for another restore of the pod"),
  },
  {
    fault: "the same Checkpoint cannot be gone back to twice",
    file: "src/operator/restore/decide.ts",
    find: "plain === specImage ? (equalReference(plain, plain) ?? plain) : plain",
    replace: "equalReference(plain, plain) === undefined ? plain : plain",
    test: unit(RESTORE, "is asked for again while its image stands already"),
  },

  // under all of it
  {
    fault: "two operators lead at once",
    file: "src/kube/leader.ts",
    find: "if (this.#heldByAnother() && !this.#expired()) return false;",
    replace: "",
    test: integration("src/kube/leader.integration.test.ts", "leader election"),
  },
  {
    fault: "a handler that throws loses the event",
    file: "src/kube/subscription.ts",
    find: "this.#owed.set(key, change);",
    replace: "this.#owed.delete(key);",
    test: unit("src/kube/subscription.test.ts", "a handler that throws loses no event"),
  },
  {
    fault: "a change during a reconcile is lost",
    file: "src/kube/queue.ts",
    find: "if (this.#again.delete(key)) this.add(key);",
    replace: "this.#again.delete(key);",
    test: unit("src/kube/queue.test.ts", "a key added while it is processed runs again"),
  },
  {
    fault: "a watch whose version is too old is resumed at it for ever",
    file: "src/kube/watch-state.ts",
    find: "  if (isGone(error)) {\n",
    replace: "  if (isGone(null)) {\n",
    test: unit("src/kube/watch-state.test.ts", "410"),
  },

  // on the local cluster
  {
    fault: "a crash is not answered",
    file: "src/operator/restore/controller.ts",
    find: "if (image !== undefined) {",
    replace: "if (image === null) {",
    ...e2e("restore.test.ts", "comes back with its memory"),
  },
  {
    fault: "the image goes to container 0, whichever has crashed",
    file: "src/operator/restore/controller.ts",
    find: "findIndex((c) => c.name === container)",
    replace: "findIndex((c) => c.name !== container)",
    ...e2e("containers.test.ts", "the second crashes: it alone is restored"),
  },
  {
    fault: "whether the node can pull is not asked",
    file: "src/operator/restore/controller.ts",
    find: "known ?? probe.check(node);",
    replace: "known;",
    ...disruptive("registry.test.ts", "that a node cannot pull from"),
  },
  {
    fault: "a namespace that is deleted during a dump leaves the memory on its node",
    file: "src/agent/dump/controller.ts",
    find: "if (isNamespaceTerminating(error)) return undefined;",
    replace: "",
    ...disruptive("kills.test.ts", "but the namespace is deleted during a dump"),
  },
  {
    fault: "what a killed runtime has begun to write is left on its node",
    file: "src/agent/dump/capture.ts",
    find: "    if (captured === undefined) {\n",
    replace: "    if (captured === undefined) {\n      continue;\n",
    ...disruptive("kills.test.ts", "the runtime, while it writes the archive"),
  },
  {
    fault: "an archive is deleted before its image was seen in the registry",
    file: "src/agent/image/controller.ts",
    find: "    const built = await pushImage(",
    replace: "    await removeArchive(checkpoint);\n    const built = await pushImage(",
    ...disruptive("kills.test.ts", "in the middle of a push"),
  },
  {
    fault: "a Checkpoint goes although its manifest is still in the registry",
    file: "src/operator/checkpoint/controller.ts",
    find: "        throw error;\n",
    replace: "",
    ...disruptive("registry.test.ts", "that is down while a Checkpoint is deleted"),
  },
  {
    fault: "credentials are not used",
    file: "src/api/registry.ts",
    find: "credentials: dockerConfig ? credentialsFor(dockerConfig, push) : undefined,",
    replace: "credentials: undefined,",
    ...disruptive("registries.test.ts", "a registry with token auth"),
  },
  {
    fault: "a slot decided again by the next leader is captured again",
    file: "src/operator/schedule/requests.ts",
    find: "    container,\n    defaultContainer: defaultContainer(pod) ?? container,\n    at,\n",
    replace:
      "    container,\n    defaultContainer: defaultContainer(pod) ?? container,\n    at: new Date(),\n",
    ...disruptive("leader.test.ts", "the slot is captured once"),
  },
  {
    fault: "the lead is not given back",
    file: "src/kube/leader.ts",
    find: "  await elector.release();\n",
    replace: "",
    ...disruptive("leader.test.ts", "that is deleted while it leads"),
  },
  {
    fault: "the lead of a leader that was killed is never taken over",
    file: "src/kube/leader.ts",
    find: "return performance.now() > this.#seen.at + seconds * 1000;",
    replace: "return performance.now() > this.#seen.at + seconds * 60_000;",
    ...disruptive("leader.test.ts", "that is killed while it leads"),
  },
  {
    fault: "an operator that is told to end does not",
    file: "src/operator/main.ts",
    find: "    stop.abort();\n",
    replace: "",
    ...disruptive("leader.test.ts", "told to end (SIGTERM), operator that waits"),
  },
  {
    fault: "a leader's question to the registry outlives its lead",
    file: "src/operator/restore/pull-probe.ts",
    find: "pushProbeImage(registry, repository, architecture, this.#context.leading);",
    replace: "pushProbeImage(registry, repository, architecture, new AbortController().signal);",
    ...disruptive("leader.test.ts", "told to end while the registry keeps it waiting"),
  },
  {
    fault: "a dump is given up when its agent is told to end",
    file: "src/agent/dump/capture.ts",
    find: "await checkpoint(kubelet, target, secondsLeft());",
    replace: "await checkpoint(kubelet, target, secondsLeft(), signal);",
    ...disruptive("kills.test.ts", "politely (SIGTERM) during a dump"),
  },
  {
    fault: "a request that a killed agent left in progress is never taken up",
    file: "src/agent/dump/decide.ts",
    find: 'if (begun) return { type: "resume", ...begun };',
    replace: 'return { type: "nothing" };',
    ...disruptive("kills.test.ts", "while CRIU dumps"),
  },
  {
    fault: "the registry's CA is not used",
    file: "src/api/registry.ts",
    find: "ca: ca || undefined,",
    replace: "ca: undefined,",
    ...disruptive("registries.test.ts", "takes the image of a checkpoint over TLS"),
  },
  {
    fault: "any kubelet is believed",
    file: "src/agent/kubelet.ts",
    find: "rejectUnauthorized: kubelet.insecureSkipVerify !== true,",
    replace: "rejectUnauthorized: false,",
    ...disruptive("kubelet.test.ts", "is not believed"),
  },

  // the installer
  {
    fault: "all nodes restart their runtimes at once",
    file: "src/installer/turn.ts",
    find: "name: LEASE,",
    replace: "name: LEASE + name,",
    test: integration("src/installer/turn.integration.test.ts", "is one node's turn until that is back"),
  },
  {
    fault: "the drop-in's directory brings in what others left there",
    file: "src/installer/containerd.ts",
    find: "if (changed.length === 0) return;",
    replace: "if (changed.length >= 0) return;",
    test: integration(
      "src/installer/containerd.integration.test.ts",
      "is left as it is where the directory would bring in what is not ours",
    ),
  },
  {
    fault: "a runtime that was restarted by a person is restarted again",
    file: "src/installer/restart.ts",
    find: "(await readIfThere(onHost(host, OWED))) ===",
    replace: "(await readIfThere(onHost(host, OWED)))?.replace(/.*/, String(pid)) ===",
    test: unit("src/installer/restart.test.ts", "as long as the very process runs"),
  },
  {
    fault: "an upgrade removes the version that restores still use",
    file: "src/installer/program.ts",
    find: "[version, previous]);",
    replace: "[version]);",
    test: unit("src/installer/program.test.ts", "keep the version before the last, and no other"),
  },
  {
    fault: "the handler's name goes while pods need it",
    file: "src/installer/uninstall.ts",
    find: "if (users.length > 0 && !force) {",
    replace: "if (users.length > 0 && force) {",
    ...disruptive("installer.test.ts", "leaves pods running, and their crashes are ordinary restarts"),
  },

  // the webhook, the class and the policies
  {
    fault: "a new authority of the webhook signs before API servers trust it",
    file: "src/operator/webhook/certificate.ts",
    find: "const SETTLE_MS = 2 * 3_600_000;",
    replace: "const SETTLE_MS = 0;",
    test: unit("src/operator/webhook/certificate.test.ts", "before and after a renewal"),
  },
  {
    fault: "an authority of the webhook is forgotten while what it signed still serves",
    file: "src/operator/webhook/certificate.ts",
    find: "validFor(AUTHORITY_DAYS, now)), ...live];",
    replace: "validFor(AUTHORITY_DAYS, now))];",
    test: unit("src/operator/webhook/certificate.test.ts", "at every step accepted"),
  },
  {
    fault: "a pod gets the class though no node with the handler has room for it",
    file: "src/operator/webhook/decide.ts",
    find: "return hasRoom(spec, [...ready], nodes)",
    replace: "return ready.size > 0",
    test: unit("src/operator/webhook/decide.test.ts", "not when no node with the handler has room"),
  },
  {
    fault: "pods that are made at once are all given the same room",
    file: "src/operator/webhook/pods.ts",
    find: "if (request.dryRun !== true) promised.add(pod, spec);",
    replace: "",
    test: unit("src/operator/webhook/pods.test.ts", "each gets room of its own"),
  },
  {
    fault: "a pod that must keep away from others gets the class where that leaves it no node",
    file: "src/operator/webhook/decide.ts",
    find: "if (bound !== undefined && without",
    replace: "if (bound === undefined && without",
    test: unit("src/operator/webhook/decide.test.ts", "only where it leaves it no node fewer"),
  },
  {
    fault: "the operator swaps images of pods that their node's handler restores",
    file: "src/operator/restore/controller.ts",
    find: "if (handlerOf(pod) !== undefined) return done;",
    replace: "",
    test: integration(
      "src/operator/webhook/webhook.integration.test.ts",
      "no record is kept of a pod of the class",
    ),
  },
  {
    fault: "an agent may label other nodes than its own",
    file: "config/policies/agent-nodes.yaml",
    find: ".orValue([]) == [request.name]",
    replace: ".orValue([]) != []",
    test: integration("test/integration/policies.integration.test.ts", "refuse every other node"),
  },
  {
    fault: "persons may have a pod begin with another's memory, by way of a Deployment",
    file: "config/policies/restore-from.yaml",
    find: "resources: [deployments, replicasets, statefulsets, daemonsets]",
    replace: "resources: [statefulsets, daemonsets]",
    test: integration("test/integration/policies.integration.test.ts", "in the template of a Deployment"),
  },
  // plans, notes and the self-test of the runtime handler
  {
    fault: "a plan names Checkpoints that the node has no copy of",
    file: "src/agent/plan/decide.ts",
    find: "candidate !== undefined && copies.has(candidate.copy),",
    replace: "candidate !== undefined,",
    test: unit(PLAN, "leaves out one without a copy on the node"),
  },
  {
    fault: "a plan names Checkpoints that are not good",
    file: "src/agent/plan/decide.ts",
    find: "const good = lineage.filter(isGood);",
    replace: "const good = [...lineage];",
    test: unit(PLAN, "leaves out one that is not good"),
  },
  {
    fault: "a poisoned Checkpoint is planned again",
    file: "src/agent/plan/decide.ts",
    find: "!isPoisoned(c) && ",
    replace: "",
    test: unit(PLAN, "leaves out a poisoned one"),
  },
  {
    fault: "a restore is armed before what is lost by it was saved",
    file: "src/agent/plan/arm.ts",
    find: 'status?.phase === "Restoring" &&',
    replace: "status !== undefined &&",
    test: integration(PLANS, "that is not begun is not armed"),
  },
  {
    fault: "a new pod begins without its state while the copy is being fetched",
    file: "src/agent/plan/decide.ts",
    find: "run === undefined && armed === undefined;",
    replace: "run === undefined;",
    test: unit(PLAN, "keeps the container that it is for waiting"),
  },
  {
    fault: "a restore that is refused cuts the run off from its checkpoints",
    file: "src/runtime/notebook.ts",
    find: "before === undefined ?",
    replace: "before !== null ?",
    test: unit("src/runtime/create.test.ts", "the container is refused as often as it is created"),
  },
  {
    fault: "a restore that was killed takes volumes' files with it",
    file: "src/runtime/kcr-runtime.c",
    find: "for (int i = 0; i < 16 && umount2",
    replace: "for (int i = 16; i < 16 && umount2",
    test: integration(
      "test/integration/handler-killed.integration.test.ts",
      "a restore that is ended from outside",
    ),
  },
  {
    fault: "what the handler writes about a new pod is not heard of",
    file: "src/agent/plan/watch-tree.ts",
    find: "else if (!watchers.has(path)) enter(parts);",
    replace: "",
    test: unit("src/agent/plan/watch-tree.test.ts", "in directories that come too"),
  },
  {
    fault: "a note that is told a second time counts a second time",
    file: "src/agent/notes/controller.ts",
    find: "Date.parse(lastRestoredTime) >= timeOf(note)) return;",
    replace: "Date.parse(lastRestoredTime) < 0) return;",
    test: integration(PLANS, "told a second time"),
  },
  {
    fault: "a run is dumped that its handler is about to replace",
    file: "src/agent/dump/decide.ts",
    find: "run === undefined || run.id === id",
    replace: "true",
    test: unit("src/agent/dump/decide.test.ts", "dumps the run that its handler knows as the newest"),
  },
  {
    fault: "a self-test passes whatever its program says",
    file: "src/agent/selftest/decide.ts",
    find: "return RESTORED.test(message)",
    replace: "return message !== undefined",
    test: unit("src/agent/selftest/decide.test.ts", "has not when it ended otherwise"),
  },
  {
    fault: "a node keeps its label although its self-test failed",
    file: "src/agent/selftest/controller.ts",
    find: 'found.result === "ready" || (label === RUNTIME_READY && isInUse())',
    replace: "true",
    test: integration("src/agent/selftest/selftest.integration.test.ts", "that fails takes the label away"),
  },
  {
    fault: "a self-test that fails has the kubelet end the node's pods when it starts anew",
    file: "src/agent/selftest/controller.ts",
    find: "(label === RUNTIME_READY && isInUse())",
    replace: "false",
    test: integration("src/agent/selftest/selftest.integration.test.ts", "that fails leaves the label"),
  },
  {
    fault: "new pods are sent to a node whose handler has failed its self-test",
    file: "src/api/selftest.ts",
    find: '(readSelftest(node)?.result ?? "ready") === "ready"',
    replace: "readSelftest(node) !== null",
    test: unit("src/api/selftest.test.ts", "the test failed"),
  },

  // copies on the node
  {
    fault: "an archive that was damaged since its digest was recorded becomes a copy",
    file: "src/agent/store/unpack.ts",
    find: "if (digest !== undefined && digest !== sha256) {",
    replace: "if (sha256.length === 0) {",
    test: unit(STORE, "whose bits are not those that were recorded"),
  },
  {
    fault: "a link in the archive becomes a file of the copy",
    file: "src/agent/store/unpack.ts",
    find: 'if (entry.type !== "file") {',
    replace: 'if (entry.type === "other") {',
    test: unit(STORE, "with a symlink where a file should be"),
  },
  {
    fault: "what was written is not read back",
    file: "src/agent/store/store.ts",
    find: "const problem = await this.#problemOf(path, file, signal);",
    replace: "const problem = undefined as string | undefined;",
    test: unit(STORE, "when the disk holds something else than it was given"),
  },
  {
    fault: "a copy shares content that is damaged",
    file: "src/agent/store/store.ts",
    find: "if (shared !== undefined && (await this.#problemOf(blob, file, signal)) === undefined) {",
    replace: "if (shared !== undefined) {",
    test: unit(STORE, "do not share content that has become damaged"),
  },
  {
    fault: "what a killed agent left half-made stays",
    file: "src/agent/store/store.ts",
    find: "await this.#disk.rm(join(tmp, name), { recursive: true, force: true });",
    replace: "",
    test: unit(STORE, "making a copy leaves a whole one or none"),
  },
  {
    fault: "content that no copy holds fills the disk",
    file: "src/agent/store/store.ts",
    find: "if (stats?.nlink === 1) await",
    replace: "if (stats?.nlink === 0) await",
    test: unit(STORE, "share equal files, and the last to go takes them along"),
  },
  {
    fault: "an archive goes before its copy is made",
    file: "src/agent/image/decide.ts",
    find: 'if (isWaiting) return { type: "nothing" };',
    replace: "void isWaiting;",
    test: unit("src/agent/image/decide.test.ts", "once there is a word about its copy"),
  },
  {
    fault: "the copy that a container runs from makes room for newer ones",
    file: "src/agent/store/decide.ts",
    find: "if (!isWanted && !isPinned) {",
    replace: "if (!isWanted) {",
    test: integration(COPIES, "stay while a container runs from them"),
  },
  {
    fault: "a Checkpoint is good by a copy that is damaged",
    file: "src/agent/store/status.ts",
    find: "const copies = withoutNode(status.copies, node);",
    replace: "const copies = status.copies ?? [];",
    test: integration(COPIES, "damaged are good no more, and go"),
  },
  {
    fault: "whoever can write a status has another container's memory fetched",
    file: "src/agent/store/obtain.ts",
    find: "if (!isIdentityOf(identity, ownerOf(checkpoint))) {",
    replace: "if (identity.containerId === undefined) {",
    test: integration(COPIES, "is refused when it is not what was recorded, or is another's"),
  },
  {
    fault: "after an agent that was killed nobody looks at its copies",
    file: "src/agent/store/keeper.ts",
    find: "let isDue = !wasClean;",
    replace: "let isDue = false && wasClean;",
    test: integration(COPIES, "is read after an agent that was killed"),
  },
  {
    fault: "handler: a clean exit of a container is met with its old state",
    file: "src/runtime/decide.ts",
    find: 'if (cause.type === "clean") return fresh(',
    replace: 'if (false && cause.type === "clean") return fresh(',
    test: unit(HANDLER, "with exit code 0 begins afresh"),
  },
  {
    fault: "handler: a container that the kubelet ended loses its state when it exits 0",
    file: "src/runtime/decide.ts",
    find: 'if (killed === last.id) return { type: "killed"',
    replace: 'if (killed === "") return { type: "killed"',
    test: unit(HANDLER, "by the kubelet's hand"),
  },
  {
    fault: "handler: after a reboot a container that exited 0 begins afresh",
    file: "src/runtime/decide.ts",
    find: "if (last.sandbox !== sandbox) return",
    replace: 'if (last.sandbox === "") return',
    test: unit(HANDLER, "with its sandbox is restored"),
  },
  {
    fault: "handler: a checkpoint of before a fresh start is restored after it",
    file: "src/runtime/decide.ts",
    find: "if (last === undefined || plan.run === last.id) return true;",
    replace: "if (last === undefined || plan.run !== undefined) return true;",
    test: unit(HANDLER, "is not restored by the plan of a tree"),
  },
  {
    fault: "handler: who went back to an older state is thrown forward by the next crash",
    file: "src/runtime/decide.ts",
    find: "if (at >= 0) return plan.candidates.slice(at);",
    replace: "if (at >= 0) return plan.candidates;",
    test: unit(HANDLER, "goes back to where it came from"),
  },
  {
    fault: "handler: a checkpoint that crashes at once is restored for ever",
    file: "src/runtime/decide.ts",
    find: "(crashes[parent.uid] ?? 0) >= plan.maxAttempts",
    replace: "(crashes[parent.uid] ?? 0) >= Infinity",
    test: unit(HANDLER, "counts against its checkpoint"),
  },
  {
    fault: "handler: what a person asked for once is done at every crash",
    file: "src/runtime/decide.ts",
    find: "state: { ...state, used: [...state.used, armed.id].slice(-16) },",
    replace: "state,",
    test: unit(HANDLER, "is restored whatever ended the run"),
  },
  {
    fault: "handler: what containerd does after every end is taken for the kubelet's kill",
    file: "src/runtime/kcr-runtime.c",
    find: 'strcmp(name, "all") == 0 || strcmp(name, "a") == 0',
    replace: 'strcmp(name, "no-all") == 0',
    test: unit(FAST, "of what a run has left behind is not"),
  },
  {
    fault: "handler: a restored container is started a second time",
    file: "src/runtime/kcr-runtime.c",
    find: 'if (strcmp(command, "start") == 0 && is_restored(&call)) return 0;',
    replace: 'if (strcmp(command, "start") == 0 && is_restored(&call) && disabled) return 0;',
    test: unit(FAST, "of a container that was restored does nothing"),
  },
  {
    fault: "handler: a volume with a file open for writing is not looked at",
    file: "src/runtime/parts/mounts.ts",
    find: 'if (policy === "Ignore") return undefined;',
    replace: 'if (policy !== "Refuse") return undefined;',
    test: unit("src/runtime/parts/mounts.test.ts", ""),
  },
];
