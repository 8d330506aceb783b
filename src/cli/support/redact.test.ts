import { expect, it } from "vitest";
import type { KubeObject } from "../../kube/resources.ts";
import { LEFT_OUT, redact, redactText } from "./redact.ts";

const SECRET = "hunter2-planted";

it("leaves out what may be secret of an object, wherever it stands, and keeps what names things", () => {
  const container = {
    name: "app",
    image: "r.example/app:1",
    command: ["sh", "-c", SECRET],
    args: [SECRET],
    env: [
      { name: "PASSWORD", value: SECRET },
      { name: "KEY", valueFrom: { secretKeyRef: { name: "keys", key: "k" } } },
    ],
    livenessProbe: { exec: { command: [SECRET] }, periodSeconds: 7 },
    readinessProbe: { httpGet: { path: "/", httpHeaders: [{ name: "X", value: SECRET }] } },
    lifecycle: { preStop: { exec: { command: [SECRET] } } },
  };
  const pod = {
    kind: "Pod",
    metadata: {
      name: "p",
      annotations: { "kcr.io/restore-record": "kept", "other.example/note": SECRET },
      managedFields: [{ fieldsV1: SECRET }],
    },
    spec: { containers: [container], initContainers: [container], ephemeralContainers: [container] },
    status: { containerStatuses: [{ lastState: { terminated: { exitCode: 3, message: SECRET } } }] },
  };
  const deployment = { kind: "Deployment", metadata: { name: "d" }, spec: { template: pod } };
  const secret = {
    kind: "Secret",
    metadata: { name: "s" },
    type: "Opaque",
    data: { k: SECRET },
    stringData: { k: SECRET },
  };
  const said = JSON.stringify([pod, deployment, secret].map((one) => redact(one as KubeObject)));
  expect(said).not.toContain(SECRET);
  for (const name of [
    "PASSWORD",
    "keys",
    "r.example/app:1",
    "other.example/note",
    '"periodSeconds":7',
    '"exitCode":3',
  ]) {
    expect(said).toContain(name);
  }
  expect(said).toContain('"kcr.io/restore-record":"kept"');
});

it.each([
  [`Authorization: Bearer ${SECRET}`],
  [`{"token":"${SECRET}","a":1}`],
  [`password = ${SECRET}`],
  [`REGISTRY_PASSWORD='${SECRET}'`],
  [`pull from https://user:${SECRET}@r.example/v2/`],
  [`api_key: ${SECRET}`],
  [`-----BEGIN RSA PRIVATE KEY-----\n${SECRET}\n-----END RSA PRIVATE KEY-----`],
])("leaves out of a text what looks like a secret: %s", (text) => {
  expect(redactText(text)).not.toContain(SECRET);
  expect(redactText(text)).toContain(LEFT_OUT);
});

it("leaves tokens of accounts out of a text, and all else as it is", () => {
  const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";
  expect(redactText(`got ${token} of kcr-agent`)).toBe(`got ${LEFT_OUT} of kcr-agent`);
  const line = '{"level":30,"program":"agent","node":"n","copy":"0f2a","msg":"the runtime handler works"}';
  expect(redactText(line)).toBe(line);
});

it.each(["-", "a", "-eyJ", "eyJaaaaaaaa.", "token", "://", "-----BEGIN "])(
  "takes no time over a long text of %j",
  (piece) => {
    expect(redactText(`${piece.repeat(50_000)} password=${SECRET}`)).not.toContain(SECRET);
  },
);
