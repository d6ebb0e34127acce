"""The TUF repository: every client that can initialises from it, uses what it got, and refuses a changed one."""

import hashlib
import http.server
import json
import threading
import urllib.error
import urllib.request

from .clients import Refused, command
from .install import HERE
from .matrix import EMAIL
from .table import Fail, Skip, Table

TARGETS = ["trusted_root.json", "signing_config.v0.2.json"]


class Tampering:
    """A mirror of the repository that changes the files which `matches` picks, on the way through."""

    def __init__(self, upstream, matches, change):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    with urllib.request.urlopen(upstream + self.path, timeout=30) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, body = error.code, error.read()
                if status == 200 and matches(self.path):
                    body = change(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *arguments):
        self.server.shutdown()
        self.server.server_close()


def _edit(body):
    """Metadata with another expiry under the old signatures: still well-formed."""
    document = json.loads(body)
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    return json.dumps(document).encode()


# (what is changed, which paths, how)
CHANGES = [
    ("a changed target", lambda path: "/targets/" in path, lambda body: body.replace(b"http", b"HTTP", 1)),
    ("a changed timestamp", lambda path: path.endswith("timestamp.json"), _edit),
    ("a changed snapshot", lambda path: path.endswith("snapshot.json"), _edit),
    ("a changed list of targets", lambda path: path.endswith("targets.json"), _edit),
]


def _refuses_changes(instance, initialise):
    """Runs `initialise(mirror, name)` against changed mirrors, each of which it must refuse."""
    accepted = []
    for number, (what, matches, change) in enumerate(CHANGES):
        with Tampering(instance.tuf_url, matches, change) as mirror:
            try:
                initialise(mirror.url, f"broken-{number}")
                accepted.append(what)
            except Refused:
                pass
    if accepted:
        raise Fail("accepted " + ", ".join(accepted))
    return f"accepted; {len(CHANGES)} changed repositories refused"


def _need(value):
    if isinstance(value, Exception):
        raise Skip(str(value))
    return value


def _same(instance, folder):
    for name, expected in zip(TARGETS, (instance.trusted_root, instance.signing_config)):
        if (folder / name).read_bytes() != expected.read_bytes():
            raise Fail(f"{name} from the TUF repository differs from the one that the instance serves")


def rows(table: Table, instance, found, work, signed):
    folder = instance.folder / "tuf"
    folder.mkdir()
    root = instance.tuf_root

    def python_tuf():
        python = _need(found["tuf"]) / "python"

        def initialise(mirror, name):
            command([python, HERE / "python" / "tuf_client.py", mirror, root, folder / name, *TARGETS])

        initialise(instance.tuf_url, "python-tuf")
        _same(instance, folder / "python-tuf" / "targets")
        return _refuses_changes(instance, initialise)

    table.row("python-tuf", "updates from the repository", "two targets", python_tuf)

    def javascript(generation):
        modules = _need(found["js"])

        def initialise(mirror, name):
            output = folder / f"js-{generation}-{name}"
            output.mkdir()
            command(["node", HERE / "js" / "tuf.js", generation, mirror, root, output / "cache", output],
                    {"NODE_PATH": str(modules)})

        initialise(instance.tuf_url, "good")
        _same(instance, folder / f"js-{generation}-good")
        return _refuses_changes(instance, initialise)

    for generation in ("4", "5"):
        table.row(f"sigstore-js {generation}", "updates from the repository", "two targets",
                  lambda generation=generation: javascript(generation))

    issuer = work.issuers["blob"]
    token = work.kinds[0].token
    ours = signed.get(("countersign", "blob"))

    def cosign():
        binary = _need(found["cosign"])
        checksum = hashlib.sha256(root.read_bytes()).hexdigest()

        def environment(name):
            return {"HOME": str(folder), "TUF_ROOT": str(folder / f"cosign-{name}")}

        def initialise(mirror, name):
            command([binary, "initialize", "--mirror", mirror, "--root", root], environment(name))

        initialise(instance.tuf_url, "good")
        command([binary, "initialize", "--mirror", instance.tuf_url, "--root", f"{instance.url}/root.json",
                 "--root-checksum", checksum], environment("by-checksum"))
        # No --signing-config and no --trusted-root from here on: cosign takes both from the repository.
        bundle = folder / "cosign.sigstore.json"
        command([binary, "sign-blob", "--identity-token", token, "--bundle", bundle, "--yes", work.artifact],
                environment("good"))
        verify = [binary, "verify-blob", "--certificate-identity", EMAIL, "--certificate-oidc-issuer", issuer]
        for candidate in [bundle] + (ours[:1] if ours else []):
            command([*verify, "--bundle", candidate, work.artifact], environment("good"))
        try:
            command([*verify, "--bundle", bundle, work.changed], environment("good"))
        except Refused:
            return _refuses_changes(instance, initialise)
        raise Fail("accepted a changed artifact")

    table.row("cosign", "initialize, then sign and verify", "everything from TUF", cosign)

    def sigstore_python():
        binary = _need(found["sigstore"]) / "sigstore"

        def environment(name):
            home = folder / f"sigstore-python-{name}"
            home.mkdir(exist_ok=True)
            return {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)}

        def initialise(mirror, name):
            command([binary, "--instance", mirror, "trust-instance", root], environment(name))

        initialise(instance.tuf_url, "good")
        bundle = folder / "python.sigstore.json"
        this = [binary, "--instance", instance.tuf_url]
        command([*this, "sign", "--identity-token", token.read_text(), "--bundle", bundle, work.artifact],
                environment("good"))
        verify = [*this, "verify", "identity", "--cert-identity", EMAIL, "--cert-oidc-issuer", issuer]
        for candidate in [bundle] + (ours[:1] if ours else []):
            command([*verify, "--bundle", candidate, work.artifact], environment("good"))
        try:
            command([*verify, "--bundle", bundle, work.changed], environment("good"))
        except Refused:
            return _refuses_changes(instance, initialise)
        raise Fail("accepted a changed artifact")

    table.row("sigstore-python", "trust-instance, then sign and verify", "everything from TUF", sigstore_python)
