import { expect, test } from "vitest";
import { bundleOf, fromData, renewAuthorities, signerOf, toData, toPem } from "./authority.ts";
import { isIssuedBy, issue, validFor, validityOf } from "./certificates.ts";

const DAY = 86_400_000;
const start = new Date("2026-01-01T00:00:00Z");
const after = (days: number) => new Date(start.getTime() + days * DAY);

test("through years of changes, whoever trusts what was published before or now accepts what is signed", {
  timeout: 60_000,
}, () => {
  let authorities = renewAuthorities([], "test", start);
  let published = bundleOf(authorities);
  let names = new Set<string>();
  for (let days = 0; days < 1500; days += 1) {
    const now = after(days);
    const before = published;
    authorities = renewAuthorities(authorities, "test", now);
    published = bundleOf(authorities);
    const { cert } = issue(signerOf(authorities, now)!, { commonName: "x" }, validFor(1, now));
    for (const bundle of [before, published]) {
      const trusted = bundle.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n/g) ?? [];
      expect(trusted.some((authority) => isIssuedBy(cert, authority))).toBe(true);
    }
    for (const authority of authorities) {
      expect(validityOf(authority.cert).notAfter.getTime()).toBeGreaterThan(now.getTime());
    }
    names = names.add(authorities[0]!.cert);
  }
  expect(names.size).toBeGreaterThan(4);
});

test("nothing changes while nothing is due, and what a Secret holds is what was put there", () => {
  const authorities = renewAuthorities([], "test", start);
  expect(renewAuthorities(authorities, "test", after(200))).toBe(authorities);
  const two = renewAuthorities(authorities, "test", after(300));
  expect(two).toHaveLength(2);
  expect(two[1]).toBe(authorities[0]);
  expect(fromData(toData(toPem(two)))).toEqual(two);
  expect(fromData({})).toEqual([]);
  expect(fromData(toData({ "ca.crt": two[0]!.cert, "ca.key": two[1]!.key }))).toEqual([]);
});

test("a new authority is trusted for a while before it signs", () => {
  const old = renewAuthorities([], "test", start);
  const both = renewAuthorities(old, "test", after(300));
  expect(signerOf(both, after(300))).toBe(old[0]);
  expect(signerOf(both, after(300.1))).toBe(both[0]);
  expect(signerOf([], start)).toBeUndefined();
});
