import { describe, expect, it } from "vitest";
import { idOf } from "../../test/fixtures/cluster.ts";
import { AUDIT_MS } from "./defaults.ts";
import { StateAudit } from "./state-audit.ts";

const NOBODY = { self: false, others: [] };
const [B, C, D] = [idOf("b"), idOf("c"), idOf("d")];

describe("the audit of states", () => {
  it("has the newest mark told, once and not too often", () => {
    const marks = new Map([[128, "x"]]);
    const audit = new StateAudit(marks);
    expect(audit.due(AUDIT_MS)).toEqual({ index: 128, hash: "x" });
    expect(audit.due(3 * AUDIT_MS)).toBeNull();
    marks.set(256, "y");
    marks.set(384, "z");
    expect(audit.due(3 * AUDIT_MS)).toEqual({ index: 384, hash: "z" });
    marks.set(512, "w");
    expect(audit.due(4 * AUDIT_MS - 1)).toBeNull();
    expect(audit.due(4 * AUDIT_MS)).toEqual({ index: 512, hash: "w" });
  });

  it("blames the one that differs from the many", () => {
    const audit = new StateAudit(new Map([[128, "x"]]));
    expect(audit.heard(B, { index: 128, hash: "bad" }, [B, C])).toEqual(NOBODY);
    expect(audit.heard(C, { index: 128, hash: "x" }, [B, C])).toEqual({ self: false, others: [B] });
    expect(audit.heard(B, { index: 128, hash: "x" }, [B, C])).toEqual(NOBODY);
  });

  it("blames the manager itself when the many differ from it", () => {
    const audit = new StateAudit(new Map([[128, "bad"]]));
    expect(audit.heard(B, { index: 128, hash: "x" }, [B, C])).toEqual(NOBODY);
    expect(audit.heard(C, { index: 128, hash: "x" }, [B, C])).toEqual({ self: true, others: [] });
  });

  it("blames nobody where two stand against each other, or two against two", () => {
    const two = new StateAudit(new Map([[128, "x"]]));
    expect(two.heard(B, { index: 128, hash: "y" }, [B])).toEqual(NOBODY);
    const four = new StateAudit(new Map([[128, "x"]]));
    expect(four.heard(B, { index: 128, hash: "y" }, [B, C, D])).toEqual(NOBODY);
    expect(four.heard(C, { index: 128, hash: "y" }, [B, C, D])).toEqual(NOBODY);
    expect(four.heard(D, { index: 128, hash: "x" }, [B, C, D])).toEqual(NOBODY);
    expect(four.heard(C, { index: 128, hash: "x" }, [B, C, D])).toEqual({
      self: false,
      others: [B],
    });
  });

  it("passes by marks that it has not, and nodes that hold no log", () => {
    const audit = new StateAudit(new Map([[128, "x"]]));
    expect(audit.heard(B, { index: 256, hash: "y" }, [B, C])).toEqual(NOBODY);
    expect(audit.heard(D, { index: 128, hash: "y" }, [B, C])).toEqual(NOBODY);
    expect(audit.heard(C, { index: 128, hash: "x" }, [B, C])).toEqual(NOBODY);
  });
});
