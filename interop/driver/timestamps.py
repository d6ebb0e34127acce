"""The timestamp authority, judged by openssl and by rfc3161-client, with requests like those of real clients."""

import base64
import hashlib
import json

from .clients import Refused, command
from .install import HERE
from .instance import http, pem
from .table import Fail, Skip, Table


def _refused(what, body):
    try:
        body()
    except Refused:
        return
    raise Fail(f"accepted {what}")


def _post(instance, body, content_type):
    status, headers, answer = http(
        "POST", f"{instance.url}/api/v1/timestamp", body, {"Content-Type": content_type}
    )
    found = {name.lower(): value for name, value in headers.items()}.get("content-type")
    if status not in (200, 201) or found != "application/timestamp-reply":
        raise Fail(f"expected 200 application/timestamp-reply, found {status} {found}: {answer[:300]!r}")
    return answer


def rows(table: Table, instance, found):
    folder = instance.folder / "timestamps"
    folder.mkdir()
    chain = instance.chain("timestampAuthorities")
    (folder / "root.pem").write_text(pem(chain[-1]))
    (folder / "chain.pem").write_text("".join(pem(der) for der in chain[:-1]))
    (folder / "data").write_bytes(b"what is stamped")
    (folder / "other").write_bytes(b"something else")
    other_root = folder / "other-root.pem"
    other_root.write_text(pem(instance.chain("certificateAuthorities")[-1]))

    def openssl(*arguments):
        if isinstance(found["openssl"], Exception):
            raise Skip(str(found["openssl"]))
        return command([found["openssl"], *arguments])

    def stamped(options):
        query, reply = folder / "query.tsq", folder / "reply.tsr"
        openssl("ts", "-query", "-data", folder / "data", "-out", query, *options)
        reply.write_bytes(_post(instance, query.read_bytes(), "application/timestamp-query"))
        return query, reply

    def verify(options, with_request):
        query, reply = stamped(options)
        trust = ["-in", reply, "-untrusted", folder / "chain.pem", "-CAfile"]
        subject = ["-queryfile", query] if with_request else ["-data", folder / "data"]
        openssl("ts", "-verify", *subject, *trust, folder / "root.pem")
        openssl("ts", "-reply", "-in", reply, "-text")
        _refused("other data", lambda: openssl(
            "ts", "-verify", "-data", folder / "other", *trust, folder / "root.pem"))
        _refused("an authority that is not trusted", lambda: openssl(
            "ts", "-verify", *subject, *trust, other_root))
        changed = bytearray(reply.read_bytes())
        changed[-1] ^= 1
        reply.write_bytes(changed)
        _refused("a changed signature", lambda: openssl(
            "ts", "-verify", *subject, *trust, folder / "root.pem"))
        return "accepted; 3 broken inputs refused"

    ts = ("openssl ts", "stamps and verifies")
    table.row(*ts, "nonce and certificate", lambda: verify(["-sha256", "-cert"], True))
    table.row(*ts, "no nonce, no certificate (as cosign asks)", lambda: verify(["-sha256", "-no_nonce"], False))
    table.row(*ts, "SHA-384", lambda: verify(["-sha384", "-cert"], True))
    table.row(*ts, "SHA-512", lambda: verify(["-sha512", "-cert"], True))

    def json_request():
        digest = base64.b64encode(hashlib.sha256(b"what is stamped").digest()).decode()
        body = json.dumps({"artifactHash": digest, "hashAlgorithm": "sha256"}).encode()
        reply = folder / "json.tsr"
        reply.write_bytes(_post(instance, body, "application/json"))
        openssl("ts", "-verify", "-data", folder / "data", "-in", reply, "-untrusted", folder / "chain.pem",
                "-CAfile", folder / "root.pem")
        return "a JSON request gets a token that openssl verifies"

    table.row("trap", "POST to the timestamp authority", "JSON", json_request)

    def weak():
        body = json.dumps({"artifactHash": base64.b64encode(bytes(20)).decode(), "hashAlgorithm": "sha1"}).encode()
        url = f"{instance.url}/api/v1/timestamp"
        for what, content, kind in [
            ("SHA-1", body, "application/json"), ("junk", b"junk", "application/timestamp-query"),
            ("an empty body", b"", "application/timestamp-query"), ("text", b"{}", "text/plain"),
        ]:
            status, _, answer = http("POST", url, content, {"Content-Type": kind})
            if not 400 <= status < 500:
                raise Fail(f"{what}: expected a refusal (4xx), found {status}: {answer[:200]!r}")
        return "SHA-1, junk, nothing and text are refused with 4xx"

    table.row("trap", "POST to the timestamp authority", "broken requests", weak)

    def client():
        if isinstance(found["sigstore"], Exception):
            raise Skip(str(found["sigstore"]))
        python = found["sigstore"] / "python"
        program = HERE / "python" / "timestamp_client.py"
        return command([python, program, f"{instance.url}/api/v1/timestamp", folder / "chain.pem",
                        folder / "root.pem", other_root]).strip()

    table.row("rfc3161-client", "stamps and verifies", "nonce, certificate, none of both", client)
