"""The transparency log, read and checked by programs of others, and the traps of its interface."""

import base64
import hashlib
import json
import urllib.parse

from .clients import Refused, command
from .instance import http
from .table import Fail, Skip, Table


def _need(value):
    if isinstance(value, Exception):
        raise Skip(str(value))
    return value


def verifier_key(instance) -> str:
    """The log's key as a signed-note verifier key: `name+hint+base64(0x01 || key)`."""
    log = instance.root_document["tlogs"][0]
    name = urllib.parse.urlsplit(log["baseUrl"]).hostname
    public = base64.b64decode(log["publicKey"]["rawBytes"])[-32:]
    identifier = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()
    if identifier != base64.b64decode(log["logId"]["keyId"]):
        raise Fail("the log's id in the trusted root is not the C2SP key id of its name and key")
    return f"{name}+{identifier[:4].hex()}+{base64.b64encode(bytes([1]) + public).decode()}"


def rows(table: Table, instance, found, work, signed):
    entries = f"{instance.url}/api/v2/log/entries"

    def run_fsck(key):
        file = work.folder / "log.vkey"
        file.write_text(key)
        arguments = [f"--storage_url={instance.url}/api/v2/", f"--public_key={file}", "--ui=false", "-v=1"]
        answer = command([_need(found["fsck"]), *arguments])
        # It ends with 0 in any case, so the verdict is in what it says.
        if "Successfully" not in answer or "failed" in answer:
            raise Refused(f"$ fsck {' '.join(arguments)}\n{answer[-3000:]}")

    def fsck():
        run_fsck(verifier_key(instance))
        return "the whole tree from its entries, and the checkpoint"

    table.row("tessera fsck", "reads the log", "tiles, entries, checkpoint", fsck)

    def wrong_key():
        key = verifier_key(instance)
        name, public = key.split("+", 1)[0], bytes(range(32))
        hint = hashlib.sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8]
        try:
            run_fsck(f"{name}+{hint}+{base64.b64encode(bytes([1]) + public).decode()}")
        except Refused as answer:
            if "verifier" in str(answer):
                raise Fail(f"refused the key, not the log\n{answer}") from None
            return "refused"
        raise Fail("accepted a checkpoint under another key")

    table.row("tessera fsck", "reads the log", "another key", wrong_key)

    def bundles():
        return [json.loads(file.read_text()) for pair in signed.values() for file in pair]

    def each_entry():
        for bundle in bundles():
            yield from bundle["verificationMaterial"]["tlogEntries"]

    def index_zero():
        indexes = [entry.get("logIndex") for entry in each_entry()]
        if any(index in (None, "0", 0) for index in indexes) or len(set(indexes)) != len(indexes):
            raise Fail(f"expected indexes from 1 on, each once; found {indexes}")
        return f"{len(indexes)} entries of all clients, none with index 0"

    table.row("trap", "what the log hands out", "index 0", index_zero)

    def one_kind():
        kinds = {(e["kindVersion"]["kind"], e["kindVersion"]["version"]) for e in each_entry()}
        if kinds != {("hashedrekord", "0.0.2")}:
            raise Fail(f"expected only hashedrekord 0.0.2, found {kinds}")
        if not [key for key in signed if key[0].startswith("sigstore-js") and key[1] == "attestation"]:
            raise Skip("sigstore-js did not sign an attestation in this run")
        return "sigstore-js sends dsseRequestV002; what is logged is hashedrekord 0.0.2"

    table.row("trap", "POST to the log", "dsseRequestV002", one_kind)

    def origin():
        for entry in each_entry():
            first = entry["inclusionProof"]["checkpoint"]["envelope"].split("\n", 1)[0]
            if first != urllib.parse.urlsplit(instance.url).hostname:
                raise Fail(f"expected the host name without a port as origin, found {first!r}")
        return "the host name, without a port"

    table.row("trap", "what the log hands out", "origin of the checkpoint", origin)

    def request_of(bundle):
        material = bundle["verificationMaterial"]
        return {"hashedRekordRequestV002": {
            "digest": bundle["messageSignature"]["messageDigest"]["digest"],
            "signature": {
                "content": bundle["messageSignature"]["signature"],
                "verifier": {
                    "x509Certificate": material["certificate"], "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                },
            },
        }}

    def post(document):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return http("POST", entries, body, {"Content-Type": "application/json"})

    def ours():
        pair = signed.get(("countersign", "blob"))
        if pair is None:
            raise Fail("countersign did not sign a blob in this run")
        return json.loads(pair[0].read_text())

    def retry():
        bundle = ours()
        expected = bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"]
        status, _, answer = post(request_of(bundle))
        if status != 201 or json.loads(answer)["logIndex"] != expected:
            raise Fail(f"expected 201 with index {expected} again, found {status}: {answer[:300]!r}")
        return f"201 with index {expected} again"

    table.row("trap", "POST to the log", "the same entry again", retry)

    def refusals():
        good = request_of(ours())["hashedRekordRequestV002"]
        wrap = lambda inner: {"hashedRekordRequestV002": inner}
        changed = lambda **fields: wrap({**good, **fields})
        verifier = good["signature"]["verifier"]
        signature = lambda **fields: changed(signature={**good["signature"], **fields})
        broken = [
            ("an unknown field", changed(foo=1)),
            ("an unknown field at the top", {**wrap(good), "foo": 1}),
            ("another digest", changed(digest=base64.b64encode(bytes(32)).decode())),
            ("a short digest", changed(digest="AAAA")),
            ("another signature", signature(content="MAYCAQECAQE=")),
            ("no verifier", signature(verifier={})),
            ("certificate and key", signature(verifier={**verifier, "publicKey": {"rawBytes": "AAAA"}})),
            ("other key details", signature(verifier={**verifier, "keyDetails": "PKIX_ED25519"})),
            ("nothing", {}), ("no JSON", b"hello"), ("deep nesting", b"[" * 100_000),
            ("an empty body", b""),
        ]
        wrong = []
        for what, document in broken:
            status, headers, answer = post(document)
            kind = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
            if not 400 <= status < 500 or "json" not in kind:
                wrong.append(f"{what}: expected 4xx as JSON, found {status} {kind}: {answer[:200]!r}")
        if wrong:
            raise Fail("\n".join(wrong))
        return f"{len(broken)} broken requests refused with 4xx"

    table.row("trap", "POST to the log", "unknown fields and broken requests", refusals)


def authority_rows(table: Table, instance, work):
    """Where the certificate authority is, and what it refuses."""

    def at_the_root():
        config = json.loads(instance.signing_config.read_text())
        for service in config["caUrls"]:
            parts = urllib.parse.urlsplit(service["url"])
            if parts.path not in ("", "/"):
                raise Fail(f"clients append to the host, so the CA's URL may have no path: {service['url']}")
        status, _, answer = http("GET", f"{instance.url}/api/v2/trustBundle")
        if status != 200 or "chains" not in json.loads(answer):
            raise Fail(f"GET /api/v2/trustBundle: expected 200 with chains, found {status}: {answer[:200]!r}")
        return "the CA answers at the host's root"

    table.row("trap", "the certificate authority", "at the host's root", at_the_root)

    def refusals():
        url = f"{instance.url}/api/v2/signingCert"
        token = work.kinds[0].token.read_text()
        head, claims, mac = token.split(".")
        broken = [
            ("no token", {}, b"{}"),
            ("a garbled token", {"Authorization": "Bearer a.b.c"}, b"{}"),
            ("a token with another signature", {"Authorization": f"Bearer {head}.{claims}.{mac[::-1]}"}, b"{}"),
            ("a good token and no key", {"Authorization": f"Bearer {token}"}, b"{}"),
            ("a good token and no JSON", {"Authorization": f"Bearer {token}"}, b"zz"),
            ("a broken CSR", {"Authorization": f"Bearer {token}"}, b'{"certificateSigningRequest":"anVuaw=="}'),
        ]
        wrong = []
        for what, headers, body in broken:
            status, _, answer = http("POST", url, body, {"Content-Type": "application/json", **headers})
            if not 400 <= status < 500 or b"CERTIFICATE" in answer:
                wrong.append(f"{what}: expected a refusal (4xx), found {status}: {answer[:200]!r}")
        if wrong:
            raise Fail("\n".join(wrong))
        return f"{len(broken)} broken requests refused with 4xx"

    table.row("trap", "the certificate authority", "broken requests", refusals)
