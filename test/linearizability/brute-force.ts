import type { Operation } from "./history.ts";

/**
 * The definition of linearizability, written down as it stands: every order of every choice of the
 * operations. It shares nothing with the checker that it judges, and is of use for seven operations or so.
 */

interface Register {
  readonly value: string | null;
  readonly version: number;
}

export function linearizableByBruteForce(operations: readonly Operation[]): boolean {
  const answered = operations.filter(({ output }) => output !== null);
  const open = operations.filter(({ output }) => output === null);
  return subsets(open).some((happened) =>
    canFollow([...answered, ...happened], { value: null, version: 0 }),
  );
}

/** Whether some order of all these operations, from this state on, gives the answers they had. */
function canFollow(rest: readonly Operation[], register: Register): boolean {
  if (rest.length === 0) return true;
  return rest.some((operation) => {
    const others = rest.filter((other) => other !== operation);
    const isTooEarly = others.some(
      ({ returnedAt }) => returnedAt !== null && returnedAt < operation.calledAt,
    );
    if (isTooEarly) return false;
    const after = perform(operation, register);
    return after !== null && canFollow(others, after);
  });
}

/** The register after the operation; null if its answer would have been another one. */
function perform({ input, output }: Operation, register: Register): Register | null {
  const { value, version } = register;
  switch (input.kind) {
    case "get": {
      if (output?.kind !== "found") return value === null ? register : null;
      const isRight = output.value === value && [null, version].includes(output.version);
      return isRight ? register : null;
    }
    case "remove":
      if (output?.kind === "absent") return value === null ? register : null;
      return value === null ? (output === null ? register : null) : { value: null, version: 0 };
    case "put":
    case "put-if":
    case "swap": {
      const holds =
        input.kind === "put" ||
        (input.kind === "put-if" ? input.ifVersion === version : input.ifValue === value);
      if (output?.kind === "refused") return holds ? null : register;
      if (!holds) return output === null ? register : null;
      const told = output?.kind === "written" ? output.version : null;
      if (told !== null && told !== version + 1) return null;
      return { value: input.value, version: version + 1 };
    }
  }
}

function subsets<T>(list: readonly T[]): T[][] {
  return list.reduce<T[][]>(
    (before, item) => [...before, ...before.map((set) => [...set, item])],
    [[]],
  );
}
