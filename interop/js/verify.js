// Verifies with sigstore-js, as a program that uses the library would.
//
//   node verify.js GENERATION TRUSTED_ROOT BUNDLE FILE IDENTITY ISSUER
//
// For a DSSE envelope the library checks the envelope; that the statement is about FILE is left to its user, so
// it is done here, after the library has said yes and on the payload that it verified.
const crypto = require('node:crypto');
const fs = require('node:fs');
const { TrustedRoot } = require('@sigstore/protobuf-specs');

const [generation, rootFile, bundleFile, file, identity, issuer] = process.argv.slice(2);
const libraries = {
  3: { verify: require('verify-v3'), bundle: require('bundle-v4') },
  4: { verify: require('verify-v4'), bundle: require('bundle-v5') },
};
const { verify, bundle } = libraries[generation];

function isAbout(envelope, artifact) {
  const statement = JSON.parse(envelope.payload);
  const digest = crypto.createHash('sha256').update(artifact).digest('hex');
  return statement.subject.some((subject) => subject.digest.sha256 === digest);
}

try {
  const trust = verify.toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(fs.readFileSync(rootFile))));
  const parsed = bundle.bundleFromJSON(JSON.parse(fs.readFileSync(bundleFile)));
  const artifact = fs.readFileSync(file);
  const verifier = new verify.Verifier(trust, { ctlogThreshold: 1, tlogThreshold: 1, timestampThreshold: 1 });
  // The library takes the identity as a pattern, so it is escaped and anchored here.
  const anchored = `^${identity.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
  verifier.verify(verify.toSignedEntity(parsed, artifact), {
    subjectAlternativeName: anchored,
    extensions: { issuer },
  });
  if (parsed.content.$case === 'dsseEnvelope' && !isAbout(parsed.content.dsseEnvelope, artifact)) {
    throw new Error('the statement is about another artifact');
  }
} catch (error) {
  console.error(error.code ?? '', error.message);
  process.exit(1);
}
