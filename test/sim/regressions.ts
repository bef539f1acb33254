/** Seeds that once broke an invariant, with what they found. Run before all others; never removed. */
export const REGRESSIONS: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 248, found: "a node that was away did not know, and so did not hear, the new manager" },
  { seed: 364, found: "an acknowledgement of an earlier term outlived the entries it spoke of" },
  { seed: 960, found: "a session opened twice under one number lost its assignments" },
  {
    seed: 1560,
    found: "a voter refused a member that had been admitted anew under a later raft id",
  },
];
