import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const contract = fileURLToPath(new URL("../../gen/ts", import.meta.url));
const edge = process.env["PERPMESH_EDGE"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  resolve: {
    alias: { "@contract": contract },
    // The contract lives outside this folder and has no packages of its own.
    dedupe: ["@bufbuild/protobuf"],
  },
  build: {
    target: "es2022",
    // The page's content security policy allows no inline content.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    // Whose code is in the bundle, and under what terms.
    license: { fileName: "assets/licenses.txt" },
    rolldownOptions: { output: { hashCharacters: "hex" } },
  },
  // `npm run dev` serves the page from source and takes the data from a mesh that runs.
  server: {
    fs: { allow: [".", contract] },
    proxy: { "/perpmesh.": { target: edge, changeOrigin: true } },
  },
});
