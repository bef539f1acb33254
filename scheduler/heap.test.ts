import * as fc from "fast-check";
import { expect, it } from "vitest";
import { Heap } from "./heap.ts";

it("gives its elements back in order, whenever they came", () => {
  fc.assert(
    fc.property(fc.array(fc.nat()), fc.array(fc.option(fc.nat())), (initial, actions) => {
      const heap = new Heap(
        initial.map((value) => ({ value })),
        (a, b) => a.value - b.value,
      );
      const model = [...initial];
      const popped: (number | undefined)[] = [];
      const expected: (number | undefined)[] = [];
      const drain = actions.concat(
        Array.from({ length: initial.length + actions.length + 1 }, () => null),
      );
      for (const action of drain) {
        if (action === null) {
          model.sort((a, b) => a - b);
          popped.push(heap.pop()?.value);
          expected.push(model.shift());
        } else {
          heap.push({ value: action });
          model.push(action);
        }
      }
      expect(popped).toEqual(expected);
    }),
  );
});
