"""The client of the public conformance suite, with sigstore-python as the suite's second opinion."""

import base64
import hashlib
import json
from pathlib import Path

from .clients import Refused, SigstorePython, command
from .table import Fail, Skip, Table

NAME = "countersign-conformance"


class Conformance:
    """Arguments in the suite's order."""

    def __init__(self, binary: Path, instance):
        self.binary, self.instance = binary, instance

    def sign(self, statement, token, bundle, file):
        command([
            self.binary, "sign-bundle", *(["--in-toto"] if statement else []), "--identity-token", token.read_text(),
            "--bundle", bundle, "--trusted-root", self.instance.trusted_root,
            "--signing-config", self.instance.signing_config, file,
        ])

    def verify(self, bundle, identity, issuer, artifact):
        command([
            self.binary, "verify-bundle", "--bundle", bundle, "--certificate-identity", identity,
            "--certificate-oidc-issuer", issuer, "--trusted-root", self.instance.trusted_root, artifact,
        ])


def rows(table: Table, instance, found, work, signed):
    client = Conformance(instance.binary.with_name(NAME), instance)

    def there():
        if not client.binary.is_file():
            raise Skip(f"{client.binary} is not there: cargo build --release --package {NAME}")

    def both_ways(verifier, kind, bundle):
        issuer = work.issuers[kind.name]
        digest = "sha256:" + hashlib.sha256(work.artifact.read_bytes()).hexdigest()
        for artifact in (work.artifact, digest):
            verifier(bundle, kind.identity, issuer, artifact)
        try:
            verifier(bundle, kind.identity, issuer, work.changed)
        except Refused:
            return
        raise Fail("accepted a changed artifact")

    def signs(kind):
        there()
        if isinstance(found["sigstore"], Exception):
            raise Skip(str(found["sigstore"]))
        statement = kind.name == "attestation"
        bundle = work.folder / f"conformance-{kind.name}.sigstore.json"
        file = work.statement_of(work.artifact) if statement else work.artifact
        client.sign(statement, kind.token, bundle, file)
        if statement:
            payload = json.loads(bundle.read_text())["dsseEnvelope"]["payload"]
            if base64.b64decode(payload) != file.read_bytes():
                raise Fail("the payload is not the statement, byte for byte")
        both_ways(client.verify, kind, bundle)
        python = SigstorePython(found["sigstore"], instance)
        both_ways(lambda b, name, issuer, file: python.verify_blob(file, b, name, issuer), kind, bundle)
        return "accepted by itself and by sigstore-python, by path and by digest"

    def verifies(kind):
        there()
        bundles = signed.get(("sigstore-python", kind.name))
        if bundles is None:
            raise Skip(f"sigstore-python did not sign a {kind.name} in this run")
        both_ways(client.verify, kind, bundles[0])
        return "accepted by path and by digest"

    for kind in work.kinds:
        table.row("conformance client", "signs, sigstore-python verifies", kind.name, lambda kind=kind: signs(kind))
        table.row("conformance client", "verifies what sigstore-python signed", kind.name,
                  lambda kind=kind: verifies(kind))
