import fc from "fast-check";
import { expect, test } from "vitest";
import type { KubeObject } from "./resources.ts";
import { Store } from "./store.ts";

const app = (object: KubeObject) => Object.values(object.metadata.labels ?? {});

test("an index finds exactly what a search through all objects finds", () => {
  const name = fc.constantFrom("a", "b", "c");
  const label = fc.constantFrom("x", "y", "z");
  const object = fc.record({ name, labels: fc.dictionary(fc.constantFrom("k1", "k2"), label) });
  const command = fc.oneof(fc.record({ set: object }), fc.record({ delete: name }));
  fc.assert(
    fc.property(fc.array(command), (program) => {
      const store = new Store<KubeObject>({ app });
      const model = new Map<string, KubeObject>();
      for (const each of program) {
        if ("set" in each) {
          expect(store.set({ metadata: each.set })).toBe(model.get(each.set.name));
          model.set(each.set.name, store.get(each.set.name)!);
        } else {
          expect(store.delete(each.delete)).toBe(model.get(each.delete));
          model.delete(each.delete);
        }
      }
      expect(new Set(store.list())).toEqual(new Set(model.values()));
      for (const value of ["x", "y", "z"]) {
        const expected = [...model.values()].filter((each) => app(each).includes(value));
        expect(new Set(store.byIndex("app", value))).toEqual(new Set(expected));
      }
    }),
  );
});

test("an index that was not declared is an error", () => {
  expect(() => new Store().byIndex("app", "x")).toThrow("no index app");
});
