"""Every client that signs against every client that verifies, with whole and with broken inputs.

Pairs that include Countersign get all the broken inputs. Pairs of two clients of others show that they meet on this
instance's services; they get one broken input, so that a yes means something.
"""

import json

from .clients import CosignLike, CountersignShort, Refused, all_clients
from .instance import EMAIL, WORKFLOW_URI
from .table import DoesNotApply, Fail, Table

JS_4 = "@sigstore/verify 3 reads no attestation from a Rekor v2 log (its successor 4.1 does)"
PYTHON = "cosign attest-blob writes a Statement v0.1, which sigstore-python does not read"


def cannot_read(signer, verifier, kind, log):
    """Why this verifier cannot read what this signer writes, on whichever instance; None when it can."""
    if (verifier, kind, log) == ("sigstore-js 4", "attestation", 2):
        return JS_4
    if (signer, verifier, kind) == ("cosign", "sigstore-python", "attestation"):
        return PYTHON
    return None


class Kind:
    """Blob or attestation: which verbs, which identity."""

    def __init__(self, name, identity, token):
        self.name, self.identity, self.token = name, identity, token

    def sign(self, client, work, artifact, bundle):
        if self.name == "blob":
            client.sign_blob(artifact, bundle, self.token)
        else:
            client.attest(artifact, work.predicate, work.statement_of(artifact), bundle, self.token)

    def verify(self, client, artifact, bundle, identity, issuer):
        verb = client.verify_blob if self.name == "blob" else client.verify_attestation
        verb(artifact, bundle, identity, issuer)


class Work:
    """The files that are signed, and who signs them."""

    def __init__(self, instance):
        import hashlib

        self.folder = instance.folder / "work"
        self.folder.mkdir()
        self.artifact = self.folder / "app.tar"
        self.artifact.write_bytes(b"a release, as it was built\n" * 1000)
        self.other = self.folder / "other.tar"
        self.other.write_bytes(b"another release\n" * 1000)
        self.changed = self.folder / "changed.tar"
        self.changed.write_bytes(self.artifact.read_bytes().replace(b"built", b"bought", 1))
        self.predicate = self.folder / "predicate.json"
        predicate = {
            "buildDefinition": {
                "buildType": "https://example.com/build/v1", "externalParameters": {"target": "release"},
                "internalParameters": {}, "resolvedDependencies": [],
            },
            "runDetails": {"builder": {"id": WORKFLOW_URI}, "metadata": {"invocationId": "42"}},
        }
        self.predicate.write_text(json.dumps(predicate))
        for artifact in (self.artifact, self.other):
            digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
            self.statement_of(artifact).write_text(json.dumps({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": artifact.name, "digest": {"sha256": digest}}],
                "predicateType": "https://slsa.dev/provenance/v1", "predicate": predicate,
            }))
        email, workflow = instance.email_token(), instance.workflow_token()
        self.issuers = {
            "blob": instance.claims(email)["iss"], "attestation": instance.claims(workflow)["iss"],
        }
        self.kinds = []
        for name, identity, token in (("blob", EMAIL, email), ("attestation", WORKFLOW_URI, workflow)):
            file = self.folder / f"{name}.token"
            file.write_text(token)
            self.kinds.append(Kind(name, identity, file))

    def statement_of(self, artifact):
        return artifact.with_suffix(".statement.json")


def _swapped(bundle, other, name, take):
    """`bundle` with a part of `other` in it."""
    mixed = json.loads(bundle.read_text())
    take(mixed, json.loads(other.read_text()))
    file = bundle.with_name(f"{name}-{bundle.name}")
    file.write_text(json.dumps(mixed))
    return file


def _take_signature(mixed, other):
    if "messageSignature" in mixed:
        mixed["messageSignature"]["signature"] = other["messageSignature"]["signature"]
    else:
        mixed["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]


def _take_entry(mixed, other):
    mixed["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]


def _take_timestamp(mixed, other):
    key = "timestampVerificationData"
    mixed["verificationMaterial"][key] = other["verificationMaterial"][key]


def _break_proof(mixed, _):
    # Not `rootHash`: some clients do not read it, because the root that counts is the one in the checkpoint.
    for entry in mixed["verificationMaterial"]["tlogEntries"]:
        entry["inclusionProof"]["hashes"][0] = "A" * 43 + "="


def broken_inputs(work, kind, bundle, other):
    """(what is broken, artifact, bundle, identity, issuer), each of which every verifier must refuse."""
    issuer = work.issuers[kind.name]
    swap = lambda name, take: _swapped(bundle, other, name, take)
    good = (work.artifact, bundle, kind.identity, issuer)
    broken = [
        ("changed artifact", work.changed, *good[1:]),
        ("another identity", *good[:2], kind.identity.replace("a", "e", 1), issuer),
        ("another issuer", *good[:3], issuer + "/other"),
        ("another signature", work.artifact, swap("signature", _take_signature), *good[2:]),
        ("another log entry", work.artifact, swap("entry", _take_entry), *good[2:]),
        ("a false inclusion proof", work.artifact, swap("proof", _break_proof), *good[2:]),
    ]
    # A log of Rekor v1 says itself when, and the signers here ask nobody else then.
    material = json.loads(bundle.read_text())["verificationMaterial"]
    if (material.get("timestampVerificationData") or {}).get("rfc3161Timestamps"):
        broken.append(("another timestamp", work.artifact, swap("timestamp", _take_timestamp), *good[2:]))
    return broken


def _sign(signer, work, kind):
    """Signs two files and returns both bundles."""
    bundles = []
    for artifact in (work.artifact, work.other):
        bundle = work.folder / f"{signer.name.replace(' ', '-')}-{kind.name}-{artifact.stem}.sigstore.json"
        try:
            kind.sign(signer, work, artifact, bundle)
        except Refused as problem:
            raise Fail(f"could not sign\n{problem}") from None
        bundles.append(bundle)
    return bundles


def _verify(signer, verifier, work, kind, bundles, all_broken, log):
    reason = cannot_read(signer.name, verifier.name, kind.name, log)
    if reason is not None:
        raise DoesNotApply(reason)
    issuer = work.issuers[kind.name]
    try:
        kind.verify(verifier, work.artifact, bundles[0], kind.identity, issuer)
    except Refused as problem:
        raise Fail(f"refused a good bundle\n{problem}") from None
    broken = broken_inputs(work, kind, *bundles)
    accepted = []
    tried = broken if all_broken else broken[:1]
    for what, *arguments in tried:
        try:
            kind.verify(verifier, *arguments)
            accepted.append(what)
        except Refused:
            pass
    if accepted:
        raise Fail("accepted broken inputs: " + ", ".join(accepted))
    return f"accepted; {len(tried)} broken inputs refused"


def rows(table: Table, instance, found, work, log=2) -> dict:
    """`log` is the version of the log's interface."""
    ours = CosignLike("countersign", instance.binary, instance)
    short = CountersignShort("countersign verify", instance.binary, instance)
    others, missing = all_clients(found, instance)
    for name, reason in missing:
        def absent(reason=reason):
            raise reason
        table.row(name, "both", "all", absent)
    signed = {}
    for kind in work.kinds:
        for signer in [ours, *others]:
            if signer.signs:
                def sign(signer=signer, kind=kind):
                    signed[signer.name, kind.name] = _sign(signer, work, kind)
                table.row(signer.name, "signs against the instance", kind.name, sign)
    for kind in work.kinds:
        for signer in [ours, *others]:
            bundles = signed.get((signer.name, kind.name))
            for verifier in [ours, short, *others]:
                both_theirs = signer is not ours and verifier not in (ours, short)
                reads = verifier.verifies and (kind.name == "attestation" or hasattr(verifier, "verify_blob"))
                if not reads or bundles is None:
                    continue
                direction = f"{signer.name} signs, {verifier.name} verifies"
                client = verifier.name if signer is ours else signer.name
                table.row(
                    client, direction, kind.name,
                    lambda s=signer, v=verifier, k=kind, b=bundles, c=not both_theirs:
                    _verify(s, v, work, k, b, c, log),
                )
    return signed
