import type { KeyPair, Subject } from "../src/kube/certificates.ts";
import * as certificates from "../src/kube/certificates.ts";

/** The certificates of clusters that live on one machine: all are valid for ten years. */
export { createKey, type KeyPair, type Subject } from "../src/kube/certificates.ts";

const DAYS = 3650;

export const createAuthority = (commonName: string): KeyPair =>
  certificates.createAuthority(commonName, certificates.validFor(DAYS));

export const issue = (authority: KeyPair, subject: Subject): KeyPair =>
  certificates.issue(authority, subject, certificates.validFor(DAYS));
