// Signs with sigstore-js, as a program that uses the library would.
//
//   node sign.js GENERATION message|statement|intoto SIGNING_CONFIG TOKEN_FILE FILE BUNDLE
//
// With "statement", FILE is a complete in-toto statement and becomes the payload of a DSSE envelope. With "intoto" too, and
// it is logged at a log of Rekor v1 as the older kind of that name.
const fs = require('node:fs');
const { SigningConfig } = require('@sigstore/protobuf-specs');

const [generation, kind, config, tokenFile, file, output] = process.argv.slice(2);
const libraries = {
  4: { sign: require('sign-v4'), bundle: require('bundle-v4') },
  5: { sign: require('sign-v5'), bundle: require('bundle-v5') },
};
const { sign, bundle } = libraries[generation];

// The signing configuration cannot ask for this kind of entry.
function older(config) {
  const url = (services) => services[0].url;
  return new sign.DSSEBundleBuilder({
    signer: new sign.FulcioSigner({
      fulcioBaseURL: url(config.caUrls),
      identityProvider: { getToken: async () => fs.readFileSync(tokenFile, 'utf8').trim() },
    }),
    witnesses: [new sign.RekorWitness({ rekorBaseURL: url(config.rekorTlogUrls), entryType: 'intoto', majorApiVersion: 1 })],
  });
}

async function main() {
  const signingConfig = SigningConfig.fromJSON(JSON.parse(fs.readFileSync(config)));
  const builder = kind === 'intoto' ? older(signingConfig) : sign.bundleBuilderFromSigningConfig({
    signingConfig,
    identityProvider: { getToken: async () => fs.readFileSync(tokenFile, 'utf8').trim() },
    bundleType: kind === 'statement' ? 'dsseEnvelope' : 'messageSignature',
    fetchOptions: { timeout: 20000, retry: { retries: 0 } },
  });
  const artifact = { data: fs.readFileSync(file) };
  if (kind !== 'message') artifact.type = 'application/vnd.in-toto+json';
  const made = await builder.create(artifact);
  fs.writeFileSync(output, JSON.stringify(bundle.bundleToJSON(made)));
}

main().catch((error) => {
  console.error(error.message, error.cause ? `(${error.cause.message})` : '', error.cause?.cause ?? '');
  process.exit(1);
});
