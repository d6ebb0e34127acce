"""A Countersign instance on loopback for the clients to talk to, and what they need to know about it."""

import base64
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from .table import Fail

EMAIL = "alice@example.com"
OWNER = "acme"
REPOSITORY = f"{OWNER}/app"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml@refs/heads/main"
WORKFLOW_URI = f"https://github.com/{WORKFLOW}"


def http(method: str, url: str, body: bytes | None = None, headers: dict | None = None):
    """Status, headers and body; an error status is an answer, not an exception."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Actions:
    """Stands in for the issuer of GitHub Actions: a key pair made here, whose public half the instance is given in a file."""

    ISSUER = "https://token.actions.githubusercontent.com"

    def __init__(self, folder: Path):
        self.key = folder / "actions.pem"
        self._openssl("genrsa", "-out", str(self.key), "2048")
        modulus = self._openssl("rsa", "-in", str(self.key), "-noout", "-modulus").decode().strip().split("=")[1]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": _base64url(bytes.fromhex(modulus)),
               "e": "AQAB"}
        self.key_set = folder / "actions.jwks.json"
        self.key_set.write_text(json.dumps({"keys": [key]}))

    @staticmethod
    def _openssl(*arguments, data=None) -> bytes:
        return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout

    def mint(self, claims: dict) -> str:
        now = int(time.time())
        claims = {"iss": self.ISSUER, "aud": "sigstore", "iat": now, "nbf": now - 5, "exp": now + 3600, **claims}
        header = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = self._openssl("dgst", "-sha256", "-sign", str(self.key), data=signed.encode())
        return f"{signed}.{_base64url(signature)}"


class Instance:
    """Starts the instance, waits until it is ready and writes its documents into `folder`."""

    def __init__(self, binary: Path, folder: Path, init=(), environment=None):
        self.binary = binary
        self.folder = folder
        self.environment = environment or {}
        self.data = folder / "instance"
        self.log = folder / "server.log"
        self._run(["init", str(self.data), "--dev", "--requests-per-second", "0", *init])
        self.actions = Actions(folder)
        with (self.data / "countersign.toml").open("a") as config:
            config.write(f"""
[[ca.issuers]]
url = "{Actions.ISSUER}"
type = "github-workflow"
jwks_file = "{self.actions.key_set}"
""")
        self.start()
        self._write_documents()

    def _environment(self):
        # Its marks beside it, and not in the home of whoever runs this.
        return {**os.environ, "NO_COLOR": "1", "XDG_STATE_HOME": str(self.data.parent / "state"), **self.environment}

    def _run(self, arguments):
        done = subprocess.run(
            [str(self.binary), *arguments],
            env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )
        if done.returncode != 0:
            raise Fail(f"countersign {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}")

    def change(self, command, *arguments):
        """A command that changes the instance while it runs."""
        self._run([command, *arguments, "--dir", str(self.data)])

    def start(self):
        log = self.log.open("a")
        self.process = subprocess.Popen(
            [str(self.binary), "serve", str(self.data), "--dev"],
            env=self._environment(), stdout=subprocess.PIPE, stderr=log, text=True,
        )
        self.url = None
        lines = []

        def read():
            for line in self.process.stdout:
                lines.append(line)
                log.write(line)
                log.flush()

        threading.Thread(target=read, daemon=True).start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Fail(f"countersign serve ended with {self.process.returncode}:\n{self.log.read_text()}")
            found = re.search(r"http://[a-z0-9.]+:[0-9]+", "".join(lines))
            if found:
                self.url = found.group(0).rstrip("/.:")
                try:
                    if http("GET", f"{self.url}/readyz")[0] == 200:
                        return
                except OSError:
                    pass
            time.sleep(0.05)
        raise Fail(f"countersign serve was not ready after 60 s:\n{self.log.read_text()}")

    def get(self, path: str) -> bytes:
        status, _, body = http("GET", self.url + path)
        if status != 200:
            raise Fail(f"GET {path}: expected 200, found {status}: {body[:300]!r}")
        return body

    def _write_documents(self):
        self.trusted_root = self._document("/trusted_root.json", "trusted_root.json")
        self.signing_config = self._document("/signing_config.v0.2.json", "signing_config.v0.2.json")
        self.trust_config = self._document("/trust_config.json", "trust_config.json")
        self.tuf_root = self._document("/root.json", "root.json")
        self.tuf_url = f"{self.url}/tuf"
        self.root_document = json.loads(self.trusted_root.read_bytes())
        self.root_line = self.folder / "trusted_root.jsonl"
        self.root_line.write_text(json.dumps(self.root_document) + "\n")

    def _document(self, path: str, name: str) -> Path:
        file = self.folder / name
        file.write_bytes(self.get(path))
        return file

    def _mint(self, claims: dict) -> str:
        url = f"{self.url}/development-identity-provider/mint"
        status, _, body = http("POST", url, json.dumps(claims).encode(), {"Content-Type": "application/json"})
        if status not in (200, 201):
            raise Fail(f"POST {url}: expected 200, found {status}: {body[:300]!r}")
        return json.loads(body)["id_token"]

    def claims(self, token: str) -> dict:
        part = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    def email_token(self, email: str = EMAIL) -> str:
        return self._mint({"sub": email, "email": email, "email_verified": True})

    def workflow_token(self) -> str:
        """A token with the claims that GitHub Actions gives to a release workflow."""
        return self.actions.mint({
            "sub": f"repo:{REPOSITORY}:ref:refs/heads/main",
            "actor": "alice", "actor_id": "7",
            "event_name": "push",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "repository": REPOSITORY, "repository_id": "1", "repository_visibility": "public",
            "repository_owner": OWNER, "repository_owner_id": "2",
            "ref": "refs/heads/main", "ref_type": "branch",
            "workflow": "release",
            "workflow_ref": WORKFLOW, "workflow_sha": "0123456789abcdef0123456789abcdef01234567",
            "job_workflow_ref": WORKFLOW, "job_workflow_sha": "0123456789abcdef0123456789abcdef01234567",
            "runner_environment": "github-hosted",
            "run_id": "42", "run_attempt": "1", "run_number": "1",
            "server_url": "https://github.com",
        })

    def chain(self, kind: str, number: int = 0) -> list:
        """The DER certificates of an authority in the trusted root, leaf or issuing first, anchor last."""
        certificates = self.root_document[kind][number]["certChain"]["certificates"]
        return [base64.b64decode(certificate["rawBytes"]) for certificate in certificates]

    def parts(self):
        """Files in PEM with the CA's chain, the timestamp authority's chain, and the CT log's key: what the trusted
        root says, for who cannot read it."""
        key = base64.b64decode(self.root_document["ctlogs"][0]["publicKey"]["rawBytes"])
        parts = {
            "ca.pem": "".join(map(pem, self.chain("certificateAuthorities"))),
            "tsa.pem": "".join(map(pem, self.chain("timestampAuthorities"))),
            "ct-log.pem": pem(key, "PUBLIC KEY"),
        }
        for name, text in parts.items():
            (self.folder / name).write_text(text)
        return [self.folder / name for name in parts]

    def kill(self):
        """Ends the server as a power cut would: at once, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Fail("the server did not stop within 30 s of SIGTERM")
        if code != 0:
            raise Fail(f"the server ended with {code} after SIGTERM:\n{self.log.read_text()[-2000:]}")


def pem(der: bytes, label: str = "CERTIFICATE") -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start:start + 64] for start in range(0, len(text), 64)]
    return f"-----BEGIN {label}-----\n" + "\n".join(lines) + f"\n-----END {label}-----\n"
