"""The clients, each behind the same four verbs: sign or verify a blob or an attestation.

A verb returns nothing when the client said yes and raises `Refused` when it said no. `Refused` holds the command
line and what the client printed.
"""

import json
import os
import subprocess
from pathlib import Path

from . import install
from .instance import OWNER, Instance
from .table import Fail, Skip

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


class Refused(Fail):
    """The client said no. `code` is its exit code, None where it left none."""

    def __init__(self, text: str, code=None):
        super().__init__(text)
        self.code = code


def command(arguments, environment=None, timeout=120) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
    )
    if done.returncode != 0:
        line = " ".join(str(argument) for argument in arguments)
        raise Refused(f"$ {line}\nexit code {done.returncode}\n{done.stdout[-3000:]}", done.returncode)
    return done.stdout


class CosignLike:
    """cosign, and Countersign under cosign's names and flags: the arguments are the same."""

    signs = verifies = True

    def __init__(self, name: str, binary, instance: Instance):
        self.name, self.binary, self.instance = name, binary, instance
        # cosign must find its trust in the files that it is given, not in somebody's home.
        self.environment = {
            "HOME": str(instance.folder), "TUF_ROOT": str(instance.folder / "no-tuf-root"),
        }

    def _run(self, *arguments):
        return command([self.binary, *arguments], self.environment)

    def _signing(self, token: Path, bundle: Path):
        return [
            "--identity-token", token, "--bundle", bundle, "--yes",
            "--signing-config", self.instance.signing_config, "--trusted-root", self.instance.trusted_root,
        ]

    def _verifying(self, bundle: Path, identity: str, issuer: str):
        return [
            "--bundle", bundle, "--trusted-root", self.instance.trusted_root,
            "--certificate-identity", identity, "--certificate-oidc-issuer", issuer,
        ]

    def sign_blob(self, artifact, bundle, token):
        self._run("sign-blob", *self._signing(token, bundle), artifact)

    def attest(self, artifact, predicate, statement, bundle, token):
        self._run("attest-blob", "--predicate", predicate, "--type", PREDICATE_TYPE,
                  *self._signing(token, bundle), artifact)

    def verify_blob(self, artifact, bundle, identity, issuer):
        self._run("verify-blob", *self._verifying(bundle, identity, issuer), artifact)

    def verify_attestation(self, artifact, bundle, identity, issuer):
        self._run("verify-blob-attestation", "--type", PREDICATE_TYPE,
                  *self._verifying(bundle, identity, issuer), artifact)


class CountersignShort(CosignLike):
    """Countersign's own two verbs, which read a bundle of either kind."""

    signs = False

    def verify_blob(self, artifact, bundle, identity, issuer):
        self._run("verify", *self._verifying(bundle, identity, issuer), artifact)

    verify_attestation = verify_blob


class SigstorePython:
    """sigstore-python's command line, told where the instance is by one file (`--trust-config`)."""

    name = "sigstore-python"
    signs = verifies = True

    def __init__(self, folder: Path, instance: Instance):
        self.binary, self.instance = folder / "sigstore", instance
        home = instance.folder / "sigstore-python"
        home.mkdir(exist_ok=True)
        self.environment = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)}

    def _run(self, *arguments):
        return command([self.binary, "--trust-config", self.instance.trust_config, *arguments], self.environment)

    def sign_blob(self, artifact, bundle, token):
        self._run("sign", "--identity-token", token.read_text(), "--bundle", bundle, "--overwrite", artifact)

    def attest(self, artifact, predicate, statement, bundle, token):
        self._run("attest", "--predicate", predicate, "--predicate-type", PREDICATE_TYPE,
                  "--identity-token", token.read_text(), "--bundle", bundle, "--overwrite", artifact)

    def verify_blob(self, artifact, bundle, identity, issuer):
        self._run("verify", "identity", "--bundle", bundle, "--cert-identity", identity,
                  "--cert-oidc-issuer", issuer, "--offline", artifact)

    verify_attestation = verify_blob


class SigstoreJs:
    """sigstore-js as a library, in one of its generations, through the small programs in `js/`."""

    def __init__(self, name, sign_generation, verify_generation, modules: Path, instance: Instance):
        self.name, self.instance = name, instance
        self.sign_generation, self.verify_generation = sign_generation, verify_generation
        self.signs, self.verifies = sign_generation is not None, verify_generation is not None
        self.environment = {"NODE_PATH": str(modules), "HOME": str(instance.folder)}

    def _run(self, program, *arguments):
        return command(["node", install.HERE / "js" / program, *arguments], self.environment)

    def sign_blob(self, artifact, bundle, token):
        self._run("sign.js", self.sign_generation, "message", self.instance.signing_config, token, artifact, bundle)

    def attest(self, artifact, predicate, statement, bundle, token):
        self._run("sign.js", self.sign_generation, "statement", self.instance.signing_config, token, statement, bundle)

    def verify_blob(self, artifact, bundle, identity, issuer):
        self._run("verify.js", self.verify_generation, self.instance.trusted_root, bundle, artifact, identity, issuer)

    verify_attestation = verify_blob


class Gh:
    """GitHub's gh, which verifies attestations whose certificates name a GitHub workflow."""

    name = "gh"
    signs, verifies = False, True

    def __init__(self, folder: Path, instance: Instance):
        self.binary, self.instance = folder / "gh", instance
        self.environment = {"HOME": str(instance.folder), "GH_TOKEN": "none", "GH_NO_UPDATE_NOTIFIER": "1",
                            "GH_CONFIG_DIR": str(instance.folder / "gh"), "NO_COLOR": "1"}

    def verify_attestation(self, artifact, bundle, identity, issuer):
        answer = command(
            [self.binary, "attestation", "verify", artifact, "--bundle", bundle, "--owner", OWNER,
             "--custom-trusted-root", self.instance.root_line, "--cert-identity", identity,
             "--cert-oidc-issuer", issuer, "--predicate-type", PREDICATE_TYPE, "--format", "json"],
            self.environment,
        )
        if not json.loads(answer):
            raise Refused("gh printed an empty list of verified attestations")


def all_clients(found: dict, instance: Instance) -> list:
    """The clients that are installed, Countersign first; the others with the reason why not."""
    makers = [
        ("cosign", lambda path: [CosignLike("cosign", path, instance)]),
        ("sigstore", lambda path: [SigstorePython(path, instance)]),
        ("js", lambda path: [
            SigstoreJs("sigstore-js 4", "4", "3", path, instance),
            SigstoreJs("sigstore-js 5", "5", "4", path, instance),
        ]),
        ("gh", lambda path: [Gh(path, instance)]),
    ]
    clients, missing = [], []
    for key, make in makers:
        path = found[key]
        if isinstance(path, Exception):
            missing.append((key, Skip(str(path))))
        else:
            clients.extend(make(path))
    return [clients, missing]
