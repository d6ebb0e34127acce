"""notation and Countersign: each signs images that the other verifies, in both forms, with every kind of key.

Both read the same trust policy and the same trust store, from the same folder.
"""

import json
import subprocess
from pathlib import Path

from .clients import Refused, command
from .instance import pem
from .oci import Repository
from .table import Fail, Skip, Table

FORMS = ["jws", "cose"]
KEYS = {
    "RSA 2048": ["RSA", "rsa_keygen_bits:2048"], "RSA 3072": ["RSA", "rsa_keygen_bits:3072"],
    "RSA 4096": ["RSA", "rsa_keygen_bits:4096"], "P-256": ["EC", "ec_paramgen_curve:P-256"],
    "P-384": ["EC", "ec_paramgen_curve:P-384"], "P-521": ["EC", "ec_paramgen_curve:P-521"],
}
IDENTITY = "x509.subject: C=US, ST=WA, O=acme"
SETTINGS = """[req]
distinguished_name=name
[name]
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
[leaf]
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
[encipherment]
keyUsage=critical,digitalSignature,keyEncipherment
[server]
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
[uncritical]
keyUsage=digitalSignature
"""


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Fail(f"openssl {' '.join(map(str, arguments))}\n{done.stderr}")


class Authority:
    """A root, and what it issues: a key, and a file with its certificate and the root's."""

    def __init__(self, folder: Path, name: str):
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.settings = self.folder / "openssl.cnf"
        self.settings.write_text(SETTINGS)
        self.root, self.root_key = self.folder / "root.crt", self.folder / "root.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                 "-keyout", self.root_key, "-out", self.root, "-subj", f"/C=US/ST=WA/O=acme/CN={name}",
                 "-config", self.settings, "-extensions", "root")

    def issue(self, name: str, kind: list, subject="/C=US/ST=WA/O=acme/CN=signer", section="leaf"):
        key, chain = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        request, leaf = self.folder / f"{name}.csr", self.folder / f"{name}.crt"
        _openssl("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", key)
        key.chmod(0o600)
        _openssl("req", "-new", "-key", key, "-out", request, "-subj", subject, "-config", self.settings)
        _openssl("x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self.root_key, "-days", "29", "-out", leaf,
                 "-extfile", self.settings, "-extensions", section)
        chain.write_text(leaf.read_text() + self.root.read_text())
        return key, chain


class World:
    """The folder that holds trust policy, trust store and keys, for both programs."""

    def __init__(self, folder: Path):
        self.folder = folder / "notation"
        self.environment = {"XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
        self.store = self.folder / "truststore" / "x509"
        self.folder.mkdir(parents=True)

    def trust(self, root: str, kind="ca", name="acme"):
        place = self.store / kind / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "root.pem").write_text(root)

    def policy(self, document: dict):
        (self.folder / "trustpolicy.json").write_text(json.dumps(document))

    def statement(self, **changes) -> dict:
        verification = changes.pop("verification", {"level": "strict"})
        statement = {"name": "all", "registryScopes": ["*"], "signatureVerification": verification,
                     "trustStores": ["ca:acme"], "trustedIdentities": [IDENTITY], **changes}
        return {"version": "1.0", "trustPolicies": [statement]}


class Notation:
    name = "notation"

    def __init__(self, binary: Path, world: World):
        self.binary, self.world = binary, world

    def _run(self, *arguments) -> str:
        return command([self.binary, *arguments], self.world.environment)

    def sign(self, image, key, chain, form, more=(), api=False):
        keys = {"default": "key", "keys": [{"name": "key", "keyPath": str(key), "certPath": str(chain)}]}
        (self.world.folder / "signingkeys.json").write_text(json.dumps(keys))
        tag = "--force-referrers-tag=false" if api else "--force-referrers-tag=true"
        self._run("sign", "--insecure-registry", tag, "--signature-format", form, *more, image)

    def verify(self, image, metadata=()) -> str:
        return self._run("verify", "--insecure-registry", *[f"-m={text}" for text in metadata], image)


class Countersign:
    name = "countersign"

    def __init__(self, binary: Path, world: World):
        self.binary, self.world = binary, world

    def _run(self, *arguments) -> str:
        return command([self.binary, "notary", *arguments], self.world.environment)

    def sign(self, image, key, chain, form, more=(), api=False):
        self._run("sign", "--key", key, "--certificate-chain", chain, "--signature-format", form, *more, image)

    def verify(self, image, metadata=()) -> str:
        return self._run("verify", *[f"-m={text}" for text in metadata], image)


def _refused(what, body):
    try:
        body()
    except Refused:
        return
    raise Fail(f"accepted {what}")


class Cast:
    def __init__(self, instance, found, folder: Path):
        if isinstance(found["notation"], Exception):
            raise Skip(str(found["notation"]))
        self.world = World(folder / "home")
        self.authority = Authority(folder, "acme")
        self.stranger = Authority(folder, "stranger")
        self.world.trust(self.authority.root.read_text())
        self.notation = Notation(found["notation"], self.world)
        self.countersign = Countersign(instance.binary, self.world)
        self.keys = {name: self.authority.issue(name.replace(" ", "-"), kind) for name, kind in KEYS.items()}
        self.tsa_url = f"{instance.url}/api/v1/timestamp"
        self.tsa_root = folder / "tsa-root.pem"
        self.tsa_root.write_text(pem(instance.chain("timestampAuthorities")[-1]))

    def both_ways(self):
        return [(self.notation, self.countersign), (self.countersign, self.notation)]


def _image(registry, name: str) -> str:
    repository = Repository(registry.host, f"notary/{name}")
    return repository.at(repository.put_image(name.encode())["digest"])


def accepted(cast: Cast, signer, verifier, registry, form: str) -> str:
    """A good signature, and everything that must be refused of it."""
    image = _image(registry, f"{signer.name}-{form}")
    key, chain = cast.keys["P-256"]
    cast.world.policy(cast.world.statement())
    _refused("an image without a signature", lambda: verifier.verify(image))
    signer.sign(image, key, chain, form, ["-m", "build=42"], api=registry.name == "referrers-registry")
    verifier.verify(image)
    verifier.verify(image, ["build=42"])
    broken = [
        ("other metadata", {}, ["build=43"]),
        ("another identity", {"trustedIdentities": ["x509.subject: C=US, ST=WA, O=other"]}, []),
        ("no statement for the repository", {"registryScopes": ["registry.example.com/app"]}, []),
        ("a store that is not there", {"trustStores": ["ca:nowhere"]}, []),
        ("a timestamp that is asked for and not there", {"trustStores": ["ca:acme", "tsa:clock"]}, []),
    ]
    for what, changes, metadata in broken:
        cast.world.policy(cast.world.statement(**changes))
        _refused(what, lambda metadata=metadata: verifier.verify(image, metadata))
    cast.world.policy(cast.world.statement())
    other = _image(registry, f"{signer.name}-{form}-stranger")
    signer.sign(other, *cast.stranger.issue(f"{signer.name}-{form}", KEYS["P-256"]), form,
                api=registry.name == "referrers-registry")
    _refused("a signature of another authority", lambda: verifier.verify(other))
    cast.world.policy(cast.world.statement(verification={"level": "audit"}))
    verifier.verify(other)
    return f"accepted; {len(broken) + 2} broken inputs refused"


def every_key(cast: Cast, signer, verifier, registry, name: str) -> str:
    cast.world.policy(cast.world.statement())
    for form in FORMS:
        image = _image(registry, f"{signer.name}-{form}-{name.replace(' ', '-').lower()}")
        signer.sign(image, *cast.keys[name], form)
        verifier.verify(image)
    return "accepted in both forms"


def timestamped(cast: Cast, signer, verifier, registry, form: str) -> str:
    image = _image(registry, f"{signer.name}-{form}-stamped")
    more = ["--timestamp-url", cast.tsa_url, "--timestamp-root-cert", cast.tsa_root]
    cast.world.trust(cast.tsa_root.read_text(), "tsa", "clock")
    cast.world.policy(cast.world.statement(trustStores=["ca:acme", "tsa:clock"]))
    signer.sign(image, *cast.keys["P-256"], form, more)
    verifier.verify(image)
    cast.world.trust(cast.stranger.root.read_text(), "tsa", "clock")
    _refused("a timestamp of another authority", lambda: verifier.verify(image))
    return "accepted; another authority refused"


def refused_to_sign(cast: Cast, signer, registry) -> str:
    """Certificates which no verifier would take are not signed with."""
    image = _image(registry, f"{signer.name}-unsigned")
    for section in ["encipherment", "server", "uncritical", "root"]:
        key, chain = cast.authority.issue(f"{signer.name}-{section}", KEYS["P-256"], section=section)
        _refused(f"a certificate: {section}", lambda key=key, chain=chain: signer.sign(image, key, chain, "jws"))
    return "4 certificates refused"


def same_policies(cast: Cast, registry) -> str:
    """Documents which both refuse, with a signature that is good."""
    image = _image(registry, "policies")
    cast.world.policy(cast.world.statement())
    cast.countersign.sign(image, *cast.keys["P-256"], "jws")
    for verifier in (cast.notation, cast.countersign):
        verifier.verify(image)
    statement = cast.world.statement
    wrong = [
        {**statement(), "version": "2.0"}, {"version": "1.0", "trustPolicies": []},
        statement(name=""), statement(registryScopes=[]), statement(registryScopes=["*", "a.b/c"]),
        statement(registryScopes=["a.b/*"]), statement(registryScopes=["a.b"]),
        statement(verification={"level": "lenient"}), statement(verification={}),
        statement(verification={"level": "strict", "override": {"integrity": "log"}}),
        statement(verification={"level": "strict", "override": {"expiry": "skip"}}),
        statement(verification={"level": "strict", "override": {"expiry": "warn"}}),
        statement(verification={"level": "strict", "override": {"expired": "log"}}),
        statement(verification={"level": "skip", "override": {"expiry": "log"}}),
        statement(verification={"level": "strict", "verifyTimestamp": "never"}),
        statement(verification={"level": "skip"}),
        statement(trustStores=[]), statement(trustStores=["acme"]), statement(trustStores=["x509:acme"]),
        statement(trustStores=["ca:../acme"]), statement(trustedIdentities=[]),
        statement(trustedIdentities=["*", IDENTITY]), statement(trustedIdentities=[""]),
        statement(trustedIdentities=["x509.subject"]), statement(trustedIdentities=["x509.subject:"]),
        statement(trustedIdentities=["x509.subject: C=US, O=acme"]),
        statement(trustedIdentities=["x509.subject: C=US, ST=WA, O=acme, O=acme"]),
        statement(trustedIdentities=["x509.subject: C=US+ST=WA, O=acme"]),
        statement(trustedIdentities=["x509.subject: C=US, ST=WA, O=#04024869"]),
        statement(trustedIdentities=[IDENTITY, IDENTITY + ", CN=signer"]),
        {"version": "1.0", "trustPolicies": statement()["trustPolicies"] * 2},
    ]
    for verifier in (cast.notation, cast.countersign):
        for document in wrong:
            cast.world.policy(document)
            _refused(f"a policy ({verifier.name}): {json.dumps(document)}", lambda v=verifier: v.verify(image))
    return f"{len(wrong)} documents refused by both"


def rows(table: Table, instance, found, folder: Path, registries: list):
    made = []

    def begin():
        made.append(Cast(instance, found, folder))
        return "one trust policy, one trust store, six kinds of key"

    table.row("notation", "set up", "keys and certificates", begin)
    if not made or not registries:
        return
    cast = made[0]
    for registry in registries:
        for signer, verifier in cast.both_ways():
            direction = f"{signer.name} signs, {verifier.name} verifies"
            for form in FORMS:
                table.row("notation", direction, f"{form} in {registry.name}",
                          lambda a=(cast, signer, verifier, registry, form): accepted(*a))
    first = registries[0]
    for signer, verifier in cast.both_ways():
        direction = f"{signer.name} signs, {verifier.name} verifies"
        for name in KEYS:
            table.row("notation", direction, f"{name} key",
                      lambda a=(cast, signer, verifier, first, name): every_key(*a))
        for form in FORMS:
            table.row("notation", direction, f"{form} with a timestamp of the instance",
                      lambda a=(cast, signer, verifier, first, form): timestamped(*a))
        table.row("notation", f"{signer.name} signs", "certificates that break a rule",
                  lambda s=signer: refused_to_sign(cast, s, first))
    table.row("notation", "both verify", "trust policies that break a rule", lambda: same_policies(cast, first))
