"""The instance's log of Rekor v1: clients that sign with it, and rekor-cli, which speaks nothing else.

The same clients and the same broken inputs as with the other log, told by a signing configuration that names this log alone
and no timestamp authority: the time is the log's.
"""

import copy
import hashlib
import itertools
import json
import re
import subprocess

from . import matrix
from .clients import CosignLike, Refused, SigstoreJs, command
from .evidence import Case, Evidence
from .image_clients import ImageClient
from .images import verify
from .table import Fail, Skip, Table


class Labelled:
    """A table whose rows say which log they are about."""

    def __init__(self, table: Table):
        self.table = table

    def row(self, client, direction, what, body, needed=False):
        return self.table.row(client, direction, f"{what}, Rekor v1", body, needed)


def told(instance, name):
    """The instance as it is told to clients that are to use its log of Rekor v1 only, with a folder of this name."""
    view = copy.copy(instance)
    view.folder = instance.folder / name
    view.folder.mkdir()
    config = json.loads(instance.signing_config.read_text())
    config["rekorTlogUrls"] = [log for log in config["rekorTlogUrls"] if log["majorApiVersion"] == 1]
    if len(config["rekorTlogUrls"]) != 1:
        raise Fail(f"expected one log of version 1 in the signing configuration, found {config['rekorTlogUrls']}")
    for member in ("tsaUrls", "tsaConfig"):
        config.pop(member, None)
    view.signing_config = view.folder / "signing_config.json"
    view.signing_config.write_text(json.dumps(config))
    trust = json.loads(instance.trust_config.read_text())
    trust["signingConfig"] = config
    view.trust_config = view.folder / "trust_config.json"
    view.trust_config.write_text(json.dumps(trust))
    return view


class Cosign2(CosignLike):
    """cosign v2.6, which writes its own kind of bundle unless it is told otherwise."""

    def _signing(self, token, bundle):
        return [*super()._signing(token, bundle), "--new-bundle-format"]

    def _verifying(self, bundle, identity, issuer):
        return [*super()._verifying(bundle, identity, issuer), "--new-bundle-format"]


def kinds_of(bundle) -> set:
    entries = json.loads(bundle.read_text())["verificationMaterial"]["tlogEntries"]
    return {f"{e['kindVersion']['kind']} {e['kindVersion']['version']}" for e in entries}


def rows(table: Table, instance, found):
    table = Labelled(table)
    view = told(instance, "rekor-v1")
    work = matrix.Work(view)
    signed = matrix.rows(table, view, found, work, log=1)

    def kinds():
        expected = {"blob": {"hashedrekord 0.0.1"}, "attestation": {"dsse 0.0.1"}}
        wrong = [f"{signer}: {kind}: {kinds_of(bundle)}" for (signer, kind), pair in signed.items() for bundle in pair
                 if kinds_of(bundle) != expected[kind]]
        if wrong or not signed:
            raise Fail("\n".join(wrong) or "nothing was signed")
        return f"hashedrekord 0.0.1 and dsse 0.0.1 of {len(signed)} signers"

    table.row("all", "what the log took", "kinds", kinds)
    ours = CosignLike("countersign", instance.binary, view)
    _second_cosign(table, view, found, work, ours)
    _older_kind(table, view, found, work, ours)
    _rekor_cli(table, view, found, work)


def _second_cosign(table, view, found, work, ours):
    if isinstance(found["cosign-2"], Exception):
        def absent():
            raise Skip(str(found["cosign-2"]))
        table.row("cosign 2", "both", "all", absent)
        return
    second = Cosign2("cosign 2", found["cosign-2"], view)
    for kind in work.kinds:
        made = {}
        for signer in (second, ours):
            def sign(signer=signer):
                made[signer.name] = matrix._sign(signer, work, kind)
            table.row("cosign 2", f"{signer.name} signs", kind.name, sign)
        for signer, verifier in ((second, ours), (second, second), (ours, second)):
            if signer.name in made:
                table.row(
                    "cosign 2", f"{signer.name} signs, {verifier.name} verifies", kind.name,
                    lambda s=signer, v=verifier, k=kind: matrix._verify(s, v, work, k, made[s.name], True, 1),
                )


def _older_kind(table, view, found, work, ours):
    """`intoto 0.0.2`, which sigstore-js makes when it is told to."""
    if isinstance(found["js"], Exception):
        return
    kind = work.kinds[1]
    readers = [SigstoreJs("sigstore-js 4", "4", "3", found["js"], view), SigstoreJs("sigstore-js 5", "5", "4", found["js"], view)]
    for signer in readers:
        bundles = []

        def sign(signer=signer, bundles=bundles):
            for artifact in (work.artifact, work.other):
                bundle = work.folder / f"{signer.name.replace(' ', '-')}-intoto-{artifact.stem}.sigstore.json"
                signer._run("sign.js", signer.sign_generation, "intoto", view.signing_config, kind.token,
                            work.statement_of(artifact), bundle)
                bundles.append(bundle)
            if kinds_of(bundles[0]) != {"intoto 0.0.2"}:
                raise Fail(f"expected intoto 0.0.2, found {kinds_of(bundles[0])}")

        if table.row(signer.name, "signs", "attestation as intoto 0.0.2", sign):
            for verifier in (ours, *readers):
                table.row(
                    signer.name, f"{signer.name} signs, {verifier.name} verifies", "attestation as intoto 0.0.2",
                    lambda s=signer, v=verifier, b=bundles: matrix._verify(s, v, work, kind, b, True, 1),
                )


class RekorCli:
    """rekor-cli against the instance, with a state of its own."""

    def __init__(self, binary, view):
        self.binary, self.url, self.home = binary, view.url, view.folder / "home of rekor-cli"
        self.home.mkdir()

    def run(self, *arguments) -> str:
        return command([self.binary, *arguments, "--rekor_server", self.url, "--retry", "0", "--timeout", "20s"],
                       {"HOME": str(self.home)})

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--format", "json"))

    def refuses(self, *arguments):
        try:
            answer = self.run(*arguments)
        except Refused:
            return
        raise Fail(f"accepted: rekor-cli {' '.join(map(str, arguments))}\n{answer}")


def _openssl(*arguments, data=None) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=data, check=True, capture_output=True).stdout


def _rekor_cli(table, view, found, work):
    if isinstance(found["rekor-cli"], Exception):
        def absent():
            raise Skip(str(found["rekor-cli"]))
        table.row("rekor-cli", "both", "all", absent)
        return
    cli = RekorCli(found["rekor-cli"], view)
    folder = work.folder
    key, public, signature = folder / "r.key", folder / "r.pub", folder / "r.sig"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    _openssl("ec", "-in", key, "-pubout", "-out", public)
    _openssl("dgst", "-sha256", "-sign", key, "-out", signature, work.artifact)
    digest = hashlib.sha256(work.artifact.read_bytes()).hexdigest()
    given = ["--artifact", work.artifact, "--artifact-hash", digest, "--signature", signature, "--pki-format", "x509",
             "--public-key", public, "--type", "hashedrekord"]
    ids = {}

    def upload():
        answer = cli.run("upload", *given)
        ids["hashedrekord"] = re.search(r"/entries/([0-9a-f]{80})", answer).group(1)
        again = cli.run("upload", *given)
        if "already exists" not in again or ids["hashedrekord"] not in again:
            raise Fail(f"expected to be told that the entry exists\n{again}")
        wrong = folder / "wrong.sig"
        _openssl("dgst", "-sha256", "-sign", key, "-out", wrong, work.other)
        cli.refuses("upload", *[wrong if argument is signature else argument for argument in given])
        return "once; the second time it is told where; a wrong signature is refused"

    def envelope(kind):
        # As DSSE has it: the payload type and the payload with their lengths.
        payload, payload_type = work.statement_of(work.artifact).read_bytes(), "application/vnd.in-toto+json"
        pae = b"DSSEv1 %d %s %d " % (len(payload_type), payload_type.encode(), len(payload)) + payload
        base64 = lambda data: _openssl("base64", "-A", data=data).decode()
        file = folder / f"r.{kind}.json"
        file.write_text(json.dumps({
            "payload": base64(payload), "payloadType": payload_type,
            "signatures": [{"keyid": "", "sig": base64(_openssl("dgst", "-sha256", "-sign", key, data=pae))}],
        }))
        return file

    def upload_envelope(kind, version):
        answer = cli.run("upload", "--artifact", envelope(kind), "--public-key", public, "--pki-format", "x509",
                         "--type", f"{kind}:{version}")
        ids[kind] = re.search(r"/entries/([0-9a-f]{80})", answer).group(1)

    def get():
        for kind, number in ids.items():
            entry = cli.json("get", "--uuid", number)
            by_index = cli.json("get", "--log-index", str(entry["LogIndex"]))
            if entry["UUID"] != number or by_index["UUID"] != number:
                raise Fail(f"expected {number}, found {entry['UUID']} and {by_index['UUID']}")
        cli.refuses("get", "--log-index", "999999")
        return f"{len(ids)} entries by number and by index"

    def search():
        expected = ids["hashedrekord"]
        for question in (["--sha", digest], ["--artifact", work.artifact],
                         ["--public-key", public, "--pki-format", "x509"]):
            answer = cli.run("search", *question)
            if expected not in answer:
                raise Fail(f"{question}: expected {expected}\n{answer}")
        mine = cli.run("search", "--email", work.kinds[0].identity)
        if len(re.findall(r"\b[0-9a-f]{80}\b", mine)) < 2 or expected in mine:
            raise Fail(f"by e-mail: expected the blobs that were signed with it\n{mine}")
        return "by digest, file, key and e-mail address"

    def proven():
        answer = cli.run("verify", *given)
        # The second half of an id is the hash of the leaf.
        if ids["hashedrekord"][16:] not in answer or "Inclusion Proof" not in answer:
            raise Fail(answer)
        other = hashlib.sha256(work.other.read_bytes()).hexdigest()
        cli.refuses("verify", *[work.other if a is work.artifact else other if a == digest else a for a in given])
        return "inclusion, checkpoint and promise; another file is refused"

    def tree_size() -> int:
        answer = cli.run("loginfo")
        if "Verification Successful" not in answer:
            raise Fail(answer)
        return int(re.search(r"Tree Size: *([0-9]+)", answer).group(1))

    def loginfo():
        first = tree_size()
        cli.run("upload", "--artifact", envelope("again"), "--public-key", public, "--pki-format", "x509", "--type", "dsse")
        second = tree_size()
        if second <= first:
            raise Fail(f"expected the tree to have grown from {first} to {second}")
        return f"{first} to {second} entries, consistent with what it remembered"

    for what, body in [
        ("upload hashedrekord", upload),
        ("upload dsse", lambda: upload_envelope("dsse", "0.0.1")),
        ("upload intoto", lambda: upload_envelope("intoto", "0.0.2")),
        ("get", get), ("search", search), ("verify", proven), ("loginfo", loginfo),
        ("logproof", lambda: cli.run("logproof", "--last-size", "2") and None),
    ]:
        table.row("rekor-cli", "uses the log", what, body)


class OlderCosign(ImageClient):
    """cosign 2 as it has been used for years: the log's address as an option, the roots as files, tags that end in .sig.
    `log_of` is the instance whose log it uses, where that is another than the one whose authority it asks."""

    forms = ("older",)

    def __init__(self, cast, view, log_of=None):
        super().__init__("cosign 2", cast.cosign2.binary, cast.instance, view.folder)
        roots, _, ct_log = cast.instance.parts()
        self.log_of = log_of or cast.instance
        log = self.log_of.folder / "rekor.pub"
        log.write_bytes(self.log_of.get("/api/v1/log/publicKey"))
        self.environment |= {"SIGSTORE_ROOT_FILE": str(roots), "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": str(ct_log),
                             "SIGSTORE_REKOR_PUBLIC_KEY": str(log)}

    def _log(self):
        return ["--rekor-url", self.log_of.url]

    def signing(self, trust, form):
        who = ["--key", trust.private] if trust.name == "key" else [
            "--identity-token", trust.token, "--fulcio-url", self.instance.url]
        return [*who, "--yes", *self._log()]

    def asked(self, trust, form):
        if trust.name == "key":
            return ["--key", trust.public, *self._log()]
        return ["--certificate-identity", trust.identity, "--certificate-oidc-issuer", trust.issuer, *self._log()]


class Told(ImageClient):
    """A client with the signing configuration that names the log of Rekor v1; the older form holds its promise then."""

    def __init__(self, client, view):
        super().__init__(client.name, client.binary, view, view.folder)
        self.older = [] if client.name != "countersign" else ["--also-legacy"]

    def signing(self, trust, form):
        return [*super().signing(trust, form), *(self.older if form == "older" else [])]

    def asked(self, trust, form):
        return [argument for argument in super().asked(trust, form)
                if argument not in ("--insecure-ignore-tlog", "--use-signed-timestamps")]


def image_rows(table: Table, cast, registries):
    """Images whose signatures are in this log: cosign 2 in its own way, cosign 3 with a signing configuration."""
    table = Labelled(table)
    if cast.cosign2 is None or cast.cosign3 is None:
        def absent():
            raise cast.missing.get("cosign-2") or cast.missing["cosign"]
        table.row("cosign", "both", "images", absent)
        return
    view = told(cast.instance, "rekor-v1-images")
    ours, second, third = Told(cast.ours, view), OlderCosign(cast, view), Told(cast.cosign3, view)
    pairs = [(second, "older", [second, ours]), (third, "bundle", [third, ours]),
             (ours, "bundle", [third]), (ours, "older", [second])]
    # One is enough: where the evidence lies is for other rows. With `--only` there may be none.
    for registry, (signer, form, verifiers), kind in itertools.product(registries[:1], pairs, ("signature", "attestation")):
        trust = cast.identities[kind]
        evidence = Evidence(registry.host, f"rekor-v1/{signer.name.replace(' ', '')}-{form}-{kind}", form, trust, kind)

        def sign(signer=signer, form=form, kind=kind, trust=trust, evidence=evidence):
            if kind == "signature":
                signer.sign(evidence.reference, trust, form)
            else:
                signer.attest(evidence.reference, cast.predicate, trust, form)

        if table.row(signer.name, "signs", f"{kind} of an image, {form}", sign):
            # Both forms are there: the older one alone, for those who would take the bundle.
            evidence = evidence.alone() if (signer, form) == (ours, "older") else evidence
            for verifier in verifiers:
                stranger = cast.stranger(trust)
                good, broken = Case("good", evidence.reference, trust), Case("another identity", evidence.reference, stranger)
                table.row(
                    signer.name, f"{signer.name} signs, {verifier.name} verifies", f"{kind} of an image, {form}",
                    lambda v=verifier, e=evidence, g=good, b=broken: verify(v, e, g, [b]),
                )
