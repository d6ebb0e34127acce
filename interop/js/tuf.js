// Initialises sigstore-js's TUF client from a repository and writes the targets that it verified.
//
//   node tuf.js GENERATION MIRROR ROOT CACHE OUTPUT_FOLDER
const fs = require('node:fs');
const path = require('node:path');

const [generation, mirror, root, cache, output] = process.argv.slice(2);
const tuf = { 4: require('tuf-v4'), 5: require('tuf-v5') }[generation];

async function main() {
  const client = await tuf.initTUF({ mirrorURL: mirror, rootPath: root, cachePath: cache, forceInit: true });
  for (const name of ['trusted_root.json', 'signing_config.v0.2.json']) {
    fs.writeFileSync(path.join(output, name), await client.getTarget(name));
  }
}

main().catch((error) => {
  console.error(error.message, error.cause ?? '');
  process.exit(1);
});
