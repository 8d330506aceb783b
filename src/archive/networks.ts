import { z } from "zod";
import type { Engine, SpecDump } from "./metadata.ts";
import type { Tar } from "./tar.ts";

/** An interface that a container had, by what its engine noted; strings of strangers. */
export interface NetworkInterface {
  /** The engine's network, of Podman's. */
  network?: string;
  name?: string;
  /** With the length of its network's prefix where that is known. */
  addresses: readonly string[];
  mac?: string;
  gateway?: string;
}

/** network.status of Podman (netavark's StatusBlock): by network, then by interface. */
const networkStatus = z.record(
  z.string(),
  z.object({
    interfaces: z
      .record(
        z.string(),
        z.object({
          mac_address: z.string().nullish(),
          subnets: z
            .array(z.object({ ipnet: z.string().nullish(), gateway: z.string().nullish() }))
            .nullish(),
        }),
      )
      .nullish(),
  }),
);

const NETWORK_STATUS_BYTES = 1024 * 1024;

/**
 * The network interfaces that an archive tells of: Podman's file, CRI-O's annotations. containerd's tell nothing, and
 * what cannot be read counts as nothing: a checkpoint is no worse for it.
 */
export async function readNetworks(tar: Tar, engine: Engine, spec: SpecDump): Promise<NetworkInterface[]> {
  switch (engine) {
    case "containerd":
      return [];
    case "cri-o":
      return criOAddresses(spec.annotations ?? {});
    case "podman":
      return await podmanNetworks(tar);
    default:
      return engine satisfies never;
  }
}

/** io.kubernetes.cri-o.IP.0, .1 ... */
function criOAddresses(annotations: Readonly<Record<string, string>>): NetworkInterface[] {
  const addresses: string[] = [];
  for (let i = 0; i < 16; i++) {
    const address = annotations[`io.kubernetes.cri-o.IP.${i}`];
    if (address) addresses.push(address);
  }
  return addresses.length === 0 ? [] : [{ addresses }];
}

async function podmanNetworks(tar: Tar): Promise<NetworkInterface[]> {
  const bytes = tar.open("network.status");
  if (bytes === undefined || bytes.size > NETWORK_STATUS_BYTES) return [];
  const { data } = networkStatus.safeParse(parsed((await bytes.read(0, bytes.size)).toString("utf8")));
  return Object.entries(data ?? {}).flatMap(([network, { interfaces }]) =>
    Object.entries(interfaces ?? {}).map(([name, { mac_address, subnets }]) => ({
      network,
      name,
      addresses: (subnets ?? []).flatMap(({ ipnet }) => ipnet || []),
      mac: mac_address || undefined,
      gateway: subnets?.findLast(({ gateway }) => gateway)?.gateway ?? undefined,
    })),
  );
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
