import { X509Certificate } from "node:crypto";
import { createServer } from "node:https";
import { connect } from "node:tls";
import { describe, expect, it } from "vitest";
import { isIssuedBy, validityOf } from "../../kube/certificates.ts";
import { bundleOf, fromSecretData, renew, toSecretData, type WebhookCertificates } from "./certificate.ts";

const DAY = 86_400_000;
const names = ["kcr-webhook.kcr-system.svc", "kcr-webhook.kcr-system.svc.cluster.local"];
const start = new Date("2026-01-01T00:00:00Z");
const none: WebhookCertificates = { authorities: [] };
const later = (days: number) => new Date(start.getTime() + days * DAY);

describe("the webhook's certificates", () => {
  it("are made where there are none, and then stay as they are", () => {
    const made = renew(none, names, start);
    expect(made.authorities).toHaveLength(1);
    const cert = new X509Certificate(made.serving!.cert);
    for (const name of names) expect(cert.checkHost(name)).toBe(name);
    expect(renew(made, names, start)).toBe(made);
    expect(renew(made, names, later(59))).toBe(made);
  });

  it("are renewed at two thirds of their lives: serving alone first, then the authority", () => {
    const made = renew(none, names, start);
    const second = renew(made, names, later(61));
    expect(second.authorities).toEqual(made.authorities);
    expect(second.serving).not.toEqual(made.serving);
    const third = renew({ ...made, serving: renew(made, names, later(240)).serving }, names, later(244));
    expect(third.authorities).toHaveLength(2);
    expect(third.authorities[1]).toEqual(made.authorities[0]);
  });

  it("through three years are at every step accepted by who trusts the bundle of the step before, or the next", () => {
    let current = renew(none, names, start);
    const steps = [current];
    let most = 1;
    for (let day = 1; day < 3 * 365; day += 7) {
      const next = renew(current, names, later(day));
      const at = later(day).getTime();
      for (const trusted of [current, next]) {
        for (const { serving } of [current, next]) {
          const signer = trusted.authorities.find(({ cert }) => isIssuedBy(serving!.cert, cert));
          expect(signer, `day ${day}`).toBeDefined();
          expect(validityOf(signer!.cert).notAfter.getTime()).toBeGreaterThan(at);
          expect(validityOf(serving!.cert).notAfter.getTime()).toBeGreaterThan(at);
        }
      }
      if (next !== current) steps.push(next);
      most = Math.max(most, next.authorities.length);
      current = next;
    }
    expect(steps.length).toBeGreaterThan(15);
    expect(most).toBe(2);
    expect(isIssuedBy(current.serving!.cert, steps[0]!.authorities[0]!.cert)).toBe(false);
  });

  it("are made anew where what serves is for other names, or signed by nobody that is trusted", () => {
    const made = renew(none, names, start);
    expect(renew(made, ["other.svc"], start).serving).not.toEqual(made.serving);
    const stranger = renew(none, names, start);
    const mixed = renew({ authorities: made.authorities, serving: stranger.serving }, names, start);
    expect(isIssuedBy(mixed.serving!.cert, made.authorities[0]!.cert)).toBe(true);
  });

  it("come out of their Secret as they went in; what is damaged is not there", () => {
    const made = renew(renew(none, names, start), names, later(250));
    expect(made.authorities).toHaveLength(2);
    const data = toSecretData(made);
    expect(fromSecretData(data)).toEqual(made);
    expect(fromSecretData({})).toEqual({ authorities: [], serving: undefined });
    const foreign = toSecretData(renew(none, names, start));
    expect(fromSecretData({ ...data, "tls.key": foreign["tls.key"]! }).serving).toBeUndefined();
    const garbage = Buffer.from("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").toString(
      "base64",
    );
    expect(fromSecretData({ ...data, "ca.crt": garbage }).authorities).toEqual([]);
  });

  it("are what TLS accepts for the service's name, with the bundle as authority, before and after a renewal", async () => {
    const now = new Date();
    const old = renew(none, names, new Date(now.getTime() - 250 * DAY));
    const first = {
      authorities: old.authorities,
      serving: renew(old, names, new Date(now.getTime() - 40 * DAY)).serving,
    };
    const second = renew(first, names, now);
    expect(second.authorities).toHaveLength(2);
    const third = renew({ ...second, serving: undefined }, names, new Date(now.getTime() + DAY));
    expect(isIssuedBy(third.serving!.cert, second.authorities[0]!.cert)).toBe(true);
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const accepted = (ca: string) =>
      new Promise<boolean>((resolve, reject) => {
        const socket = connect({ port, host: "127.0.0.1", servername: names[0], ca });
        socket.once("secureConnect", () => {
          resolve(socket.authorized);
          socket.destroy();
        });
        socket.once("error", reject);
      });
    try {
      server.setSecureContext(first.serving!);
      expect(await accepted(bundleOf(first))).toBe(true);
      expect(await accepted(bundleOf(second))).toBe(true);
      server.setSecureContext({ ...renew({ ...second, serving: undefined }, names, now).serving! });
      expect(await accepted(bundleOf(first))).toBe(true);
      expect(await accepted(bundleOf(second))).toBe(true);
    } finally {
      server.close();
    }
  });
});
