import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SUBDOMAIN } from "./common.ts";
import {
  checkpointName,
  imageTag,
  labelValue,
  repositoryName,
  requestName,
  scheduleName,
  shorten,
} from "./names.ts";

/** Names of any length up to the longest: by itself the library makes hardly any that are long. */
const dnsName = (max: number) =>
  fc
    .stringMatching(new RegExp(`^[a-z0-9]([-a-z0-9]{0,${max - 2}}[a-z0-9])?$`), { size: "max" })
    .filter((s) => s.length <= max);
const at = new Date("2026-03-01T12:00:00Z");

describe("names", () => {
  it("are the original ones while they fit", () => {
    const captured = { pod: "web-abc", container: "app", defaultContainer: "app", at };
    expect(requestName("web", captured)).toBe("web-web-abc-1772366400");
    expect(checkpointName("shop", captured)).toBe("web-abc-shop-1772366400");
    expect(repositoryName("localhost:5000", "kcr", "shop", "web", "app")).toBe("kcr/shop/checkpoint-web-app");
    expect(scheduleName("web", "Deployment")).toBe("web");
    expect(scheduleName("db", "StatefulSet")).toBe("db-statefulset");
  });

  it("tell the containers of one pod apart within one slot", () => {
    const pod = { pod: "web-abc", defaultContainer: "app", at };
    expect(requestName("web", { ...pod, container: "side" })).toBe("web-web-abc-side-1772366400");
    expect(checkpointName("shop", { ...pod, container: "side" })).not.toBe(
      checkpointName("shop", { ...pod, container: "app" }),
    );
  });

  it("of any length stay within the limits of the API server and the registry", () => {
    fc.assert(
      fc.property(
        dnsName(253),
        dnsName(253),
        dnsName(63),
        dnsName(63),
        (schedule, pod, namespace, container) => {
          const captured = { pod, container, defaultContainer: "x", at };
          for (const name of [
            requestName(schedule, captured),
            checkpointName(namespace, captured),
            checkpointName(namespace, captured, "some-uid"),
          ]) {
            expect(name.length).toBeLessThanOrEqual(253);
            expect(name).toMatch(SUBDOMAIN);
          }
          expect(labelValue(pod).length).toBeLessThanOrEqual(63);
          expect(imageTag(pod).length).toBeLessThanOrEqual(128);
          const registry = "registry.example.com:5000";
          const repository = repositoryName(registry, "kcr", namespace, pod, container);
          expect(`${registry}/${repository}`.length).toBeLessThanOrEqual(200);
        },
      ),
    );
  });

  it("that are cut stay unique and stable", () => {
    const long = "a".repeat(80);
    expect(shorten(`${long}b`, 63)).not.toBe(shorten(`${long}c`, 63));
    expect(shorten(`${long}b`, 63)).toBe(shorten(`${long}b`, 63));
  });

  it("of two namespaces never share a repository", () => {
    const of = (namespace: string) => repositoryName("r", "kcr", namespace, "web", "app");
    expect(of("team-a")).not.toBe(of("team-b"));
  });
});
