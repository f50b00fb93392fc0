import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, mergeConfig } from "vite";
import page from "./vite.config.ts";

const folder = fileURLToPath(new URL("test", import.meta.url));
const tests = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));

/** Turns the tests and what they test into JavaScript that `node --test` runs. */
export default mergeConfig(
  page,
  defineConfig({
    logLevel: "warn",
    ssr: { noExternal: true },
    build: {
      ssr: true,
      outDir: ".cache/test",
      emptyOutDir: true,
      minify: false,
      rolldownOptions: {
        input: Object.fromEntries(tests.map((name) => [name.slice(0, -3), `${folder}/${name}`])),
        output: { entryFileNames: "[name].mjs", chunkFileNames: "[name].mjs" },
      },
    },
  }),
);
