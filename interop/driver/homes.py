"""Keys in services: Countersign signs with keys that it cannot see, and cosign agrees.

AWS KMS is played by moto, which does not check the signatures of requests; the stand-ins in crates/keys do. It also
takes a digest for a message and hashes it again, so that its signatures are none: Countersign must find that out. The
transit engine is HashiCorp Vault's own (`transit/main.go`).
"""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

from .clients import Refused, command
from .table import DoesNotApply, Fail, Skip

TOKEN = "interop-token"

# Trusts nobody, in the form of a trusted root: the keys alone decide.
NOBODY = {
    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "tlogs": [], "certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": [],
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(port: int, process) -> None:
    """Waits until a server listens; raises when it ends before, or takes longer than a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise Fail("the server did not start")


class Moto:
    """AWS KMS, played by moto."""

    name = "moto"
    honest = False
    kinds = ["ecdsa-sha2-256-nistp256", "ecdsa-sha2-384-nistp384", "rsa-sign-pkcs1-3072-sha256"]

    def __init__(self, folder: Path):
        port = _free_port()
        self.process = subprocess.Popen(
            [str(folder / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        _answers(port, self.process)
        self.good = {
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        self.bad = {**self.good, "AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": ""}

    def reference(self, kind: str) -> str:
        return f"awskms:///alias/{kind}"


class Transit:
    """The transit engine of Vault."""

    name = "vault transit"
    honest = True
    kinds = ["ecdsa-sha2-256-nistp256", "ecdsa-sha2-384-nistp384", "ecdsa-sha2-512-nistp521",
             "rsa-sign-pkcs1-3072-sha256"]

    def __init__(self, program: Path):
        self.process = subprocess.Popen([str(program)], env={**os.environ, "TRANSIT_TOKEN": TOKEN},
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = self.process.stdout.readline().strip()
        if not port:
            raise Fail("the engine did not start")
        self.good = {"VAULT_ADDR": f"http://127.0.0.1:{port}", "VAULT_TOKEN": TOKEN}
        self.bad = {**self.good, "VAULT_TOKEN": "another"}

    def reference(self, kind: str) -> str:
        return f"hashivault://{kind}"


def rows(table, binary: Path, folder: Path, found: dict):
    """A key of each kind is made, signs and verifies; wrong credentials and a service that is gone are told apart."""
    for start, needed in [(Moto, "moto"), (Transit, "transit")]:
        program = found[needed]
        if isinstance(program, Exception):
            def missing(reason=program):
                raise Skip(str(reason).splitlines()[0])
            table.row(start.name, "keys", "every row", missing)
            continue
        home = None
        try:
            home = start(program)
            for kind in home.kinds:
                _kind(table, home, kind, binary, folder / f"keys-{needed}-{kind}", found["cosign"])
            _failures(table, home, binary)
        except Fail as problem:
            def failed(problem=problem):
                raise problem
            table.row(start.name, "keys", "the service starts", failed)
        finally:
            if home is not None and home.process.poll() is None:
                home.process.kill()
                home.process.wait()


def _kind(table, home, kind: str, binary: Path, folder: Path, cosign):
    folder.mkdir(parents=True)
    artifact, bundle, root = folder / "artifact", folder / "bundle.json", folder / "root.json"
    artifact.write_text("artifact")
    root.write_text(json.dumps(NOBODY))
    reference = home.reference(kind)
    public = folder / "key.pub"

    def run(*arguments, environment=home.good):
        return command([binary, *arguments], {**os.environ, **environment})

    def make():
        run("generate-key-pair", "--kms", reference, "--signing-algorithm", kind, "--output-key-prefix", folder / "key")
        if run("public-key", "--key", reference) != public.read_text():
            raise Fail("another public key than the one that was made")

    def sign():
        run("sign", artifact, "--key", reference, "--bundle", bundle, "--trusted-root", root, "--tlog-upload=false")
        for key in [reference, public]:
            run("verify", artifact, "--key", key, "--bundle", bundle, "--trusted-root", root, "--min-logs", "0")
        other = folder / "other"
        other.write_text("another")
        try:
            run("verify", other, "--key", public, "--bundle", bundle, "--trusted-root", root, "--min-logs", "0")
        except Refused:
            return
        raise Fail("a changed artifact verified")

    def cosign_verifies():
        if "sha2-384" in kind or "sha2-512" in kind:
            raise DoesNotApply("cosign checks signatures by keys with SHA-256 whatever the curve")
        if isinstance(cosign, Exception):
            raise Skip("cosign could not be installed")
        command([cosign, "verify-blob", "--key", public, "--bundle", bundle, "--insecure-ignore-tlog=true",
                 "--trusted-root", root, artifact], {**os.environ, **home.good})

    def finds_out():
        try:
            sign()
        except Refused as refused:
            if "by its own public key" in str(refused) and not bundle.exists():
                return
            raise Fail(str(refused)) from refused
        raise Fail("moto signs digests now: its rows can be those of an honest service")

    table.row(home.name, "countersign", f"makes a key: {kind}", make)
    if home.honest:
        table.row(home.name, "countersign", f"signs and verifies: {kind}", sign)
        table.row(home.name, "cosign", f"verifies what was signed: {kind}", cosign_verifies)
    else:
        table.row(home.name, "countersign", f"a signature of something else is found out: {kind}", finds_out)


def _failures(table, home, binary: Path):
    reference = home.reference(home.kinds[0])

    def ends_with(code: int, environment: dict, name: str):
        done = subprocess.run([str(binary), "public-key", "--key", name], env={**os.environ, **environment},
                              capture_output=True, text=True, timeout=60)
        if done.returncode != code:
            raise Fail(f"expected exit code {code}, found {done.returncode}\n{done.stderr}")
        if any(value and value in done.stderr for value in [TOKEN]):
            raise Fail("a credential in an error")

    table.row(home.name, "countersign", "wrong credentials", lambda: ends_with(1, home.bad, reference))
    missing = reference + "-missing"
    table.row(home.name, "countersign", "a key that is missing", lambda: ends_with(1, home.good, missing))
    home.process.kill()
    home.process.wait()
    table.row(home.name, "countersign", "a service that is gone", lambda: ends_with(6, home.good, reference))
