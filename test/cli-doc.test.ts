import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { SETTINGS } from "../node/config.ts";

const doc = readFileSync(new URL("../docs/cli.md", import.meta.url), "utf8").replaceAll(
  / +\|/g,
  " |",
);

test.each(SETTINGS.map(({ flag, value, help }) => ({ flag, value, help })))(
  "docs/cli.md has --$flag with the words of its --help",
  ({ flag, value, help }) => {
    const name = value === null ? `--${flag}` : `--${flag} ${value}`;
    const row = [`\`${name}\``, help].map((cell) => cell.replaceAll("|", String.raw`\|`));
    expect(doc).toContain(`| ${row.join(" | ")} |`);
  },
);
