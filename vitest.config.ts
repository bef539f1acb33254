import { defineConfig } from "vitest/config";

const exclude = ["dist/**", "node_modules/**"];

// unit: no I/O, runs in seconds. system: real disks, sockets, processes and a real engine.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          exclude: [...exclude, "test/system/**", "**/*.system.test.ts"],
          include: ["**/*.test.ts"],
          // Seconds of work, also where other work has the processors.
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "system",
          exclude,
          include: ["test/system/**/*.test.ts", "**/*.system.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
