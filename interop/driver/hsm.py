"""A certificate authority whose key lives in a token of SoftHSM2: cosign signs and verifies, and the token is pulled out
and put back (R21)."""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

from .clients import CosignLike, Refused
from .instance import EMAIL, Instance, http
from .table import Fail, Skip, Table

MODULES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
]
PIN = "834719"
# What R21 allows, in seconds.
AWAY, HEALED = 2, 5


class Token:
    """A token in a directory of its own, which is moved away as if it were pulled out."""

    def __init__(self, folder: Path):
        self.module = next((path for path in MODULES if Path(path).is_file()), None)
        if self.module is None or shutil.which("softhsm2-util") is None:
            raise Skip("softhsm2 is not installed")
        self.tokens, self.pulled, configuration = folder / "tokens", folder / "pulled", folder / "softhsm2.conf"
        self.tokens.mkdir()
        configuration.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\n")
        self.environment = {"SOFTHSM2_CONF": str(configuration), "COUNTERSIGN_PKCS11_PIN": PIN}
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", "hsm", "--pin", PIN, "--so-pin", "999999"],
            env=self.environment, check=True, capture_output=True,
        )
        self.place = next(self.tokens.iterdir())

    def reference(self, name: str) -> str:
        return f"pkcs11:token=hsm;object={name}?module-path={self.module}"

    def pull_out(self):
        self.place.rename(self.pulled)

    def put_back(self):
        self.pulled.rename(self.place)


def _authority_answers(instance) -> bool:
    """Whether the certificate authority works, as /readyz sees it."""
    return http("GET", f"{instance.url}/readyz")[2] == b'{"status":"READY"}'


def _until(what: str, limit: float, done) -> float:
    start = time.monotonic()
    while not done():
        if time.monotonic() - start > limit:
            raise Fail(f"{what}: not within {limit} s")
        time.sleep(0.05)
    return time.monotonic() - start


def rows(table: Table, binary: Path, parent: Path, found):
    folder = parent / "hsm"
    folder.mkdir()
    (folder / "artifact").write_bytes(b"signed under a key in a token\n")
    (folder / "changed").write_bytes(b"signed under a key in a tokeN\n")
    started = []

    def cosign():
        if isinstance(found["cosign"], Exception):
            raise Skip(str(found["cosign"]))
        return CosignLike("cosign", found["cosign"], started[0][1])

    def signs(name: str):
        instance = started[0][1]
        token = folder / "identity-token"
        token.write_text(instance.email_token())
        issuer = instance.claims(token.read_text())["iss"]
        bundle = folder / f"{name}.sigstore.json"
        cosign().sign_blob(folder / "artifact", bundle, token)
        for verifier in (cosign(), CosignLike("countersign", binary, instance)):
            verifier.verify_blob(folder / "artifact", bundle, EMAIL, issuer)
            try:
                verifier.verify_blob(folder / "changed", bundle, EMAIL, issuer)
            except Refused:
                continue
            raise Fail(f"{verifier.name} accepted a changed artifact")

    def made():
        token = Token(folder)
        started.append((token, Instance(
            binary, folder, ["--ca-key", token.reference("ca")], token.environment)))
        if (folder / "instance" / "keys" / "ca.key").exists():
            raise Fail("a private key of the authority is in a file")
        signs("first")

    def pulled_out():
        if not started:
            raise Skip("no instance with a token")
        token, instance = started[0]
        token.pull_out()

        def refused():
            status, headers, _ = http("POST", f"{instance.url}/api/v2/signingCert", _certificate_request(instance),
                                      {"Content-Type": "application/json"})
            return status == 503 and "retry-after" in {name.lower() for name in headers}

        away = _until("503 without the token", AWAY, refused)
        try:
            signs("without")
        except Refused:
            pass
        else:
            raise Fail("cosign got a certificate without the token")
        if b'"keysAway":["ca"]' not in http("GET", f"{instance.url}/readyz")[2]:
            raise Fail("/readyz does not name the key that is away")
        token.put_back()
        healed = _until("well again with the token", HEALED, lambda: _authority_answers(instance))
        signs("after")
        log = instance.log.read_text()
        if PIN in log:
            raise Fail("the PIN stands in the server's log")
        return f"503 after {away:.1f} s, healed after {healed:.1f} s"

    try:
        table.row("cosign", "signs and verifies", "the authority's key in SoftHSM2", made)
        table.row("cosign", "is refused, then signs", "the token pulled out and put back (R21)", pulled_out)
    finally:
        for _, instance in started:
            instance.stop()


def _certificate_request(instance) -> bytes:
    """A request for a certificate, as a client makes it."""
    key, message = instance.folder / "client.pem", instance.folder / "proof"
    if not key.exists():
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)],
                       check=True, capture_output=True)
    message.write_text(EMAIL)
    proof = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key), str(message)],
                           check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "ec", "-in", str(key), "-pubout"], check=True, capture_output=True).stdout
    return json.dumps({
        "credentials": {"oidcIdentityToken": instance.email_token()},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "", "content": public.decode()},
            "proofOfPossession": base64.b64encode(proof).decode(),
        },
    }).encode()
