"""Images, both ways on both registries: every client signs and Countersign verifies, Countersign signs and every client
verifies, and all refuse what is broken."""

import itertools
import json

from .clients import Refused, command
from .evidence import ANNOTATIONS, Case, Evidence
from .image_clients import Cosign2, Cosign3, CountersignImages, GhImages, Oras, Skopeo, Trust
from .instance import EMAIL, WORKFLOW_URI
from .oci import BUNDLE, INDEX, Repository
from .table import DoesNotApply, Fail, Skip, Table

KINDS = ("signature", "attestation")
# What no client accepts, its own signer included: (signer, kind, form, trust).
NOBODYS = {
    ("cosign 3", "attestation", "older", "keyless"):
        "cosign 3 refuses its own: it has the signature timestamped and looks for a timestamp of the envelope",
}


class Cast:
    """The clients, the keys and the identities. Who is not installed is in `missing`, with the reason."""

    def __init__(self, instance, found, work, folder):
        self.instance, self.folder, self.predicate = instance, folder, work.predicate
        self.missing = {}

        def installed(key, make):
            if isinstance(found[key], Exception):
                self.missing[key] = Skip(str(found[key]))
                return None
            return make(found[key])

        self.ours = CountersignImages("countersign", instance.binary, instance, folder)
        self.cosign3 = installed("cosign", lambda path: Cosign3("cosign 3", path, instance, folder))
        self.cosign2 = installed("cosign-2", lambda path: Cosign2("cosign 2", path, instance, folder))
        self.gh = installed("gh", lambda path: GhImages(path, instance, folder))
        self.skopeo = installed("policy-copy", lambda path: Skopeo(path, folder))
        self.oras = installed("oras", lambda path: Oras(path, folder))
        self._crane = installed("crane", lambda path: path)
        self.identities = {
            "signature": Trust("keyless", token=work.kinds[0].token, identity=EMAIL, issuer=work.issuers["blob"]),
            "attestation": Trust("keyless", token=work.kinds[1].token, identity=WORKFLOW_URI,
                                 issuer=work.issuers["attestation"]),
        }
        self.keys = {}

    def crane(self, *arguments, **environment) -> str:
        if self._crane is None:
            raise self.missing["crane"]
        return command([self._crane, *arguments], {"HOME": str(self.folder), **environment})

    def generate(self, client) -> str:
        """The client makes a key pair with the command of every tutorial, in a folder of its own."""
        prefix = self.folder / client.name.replace(" ", "-")
        client.run("generate-key-pair", "--output-key-prefix", prefix)
        self.keys[client.name] = Trust("key", private=prefix.with_suffix(".key"), public=prefix.with_suffix(".pub"))
        return "cosign's files: an encrypted private key, and a public key"

    def key_for(self, client) -> Trust:
        """Countersign signs with a key of cosign's making, and cosign with one of Countersign's."""
        maker = "cosign 3" if client is self.ours else "countersign"
        if maker not in self.keys:
            raise Fail(f"{maker} made no key pair in this run")
        return self.keys[maker]

    def trust(self, name, kind, client) -> Trust:
        return self.key_for(client) if name == "key" else self.identities[kind]

    def stranger(self, trust: Trust) -> Trust:
        """Somebody else than the signer."""
        if trust.name == "keyless":
            return trust.other(identity=trust.identity.replace("a", "e", 1))
        return trust.other(public=next(key.public for key in self.keys.values() if key.public != trust.public))


def ask(verifier, evidence: Evidence, case: Case):
    if evidence.kind == "signature":
        verifier.verify(case.reference, case.trust, evidence.form, case.annotations)
    else:
        verifier.verify_attestation(case.reference, case.trust, evidence.form, *([case.type] if case.type else []))


def verify(verifier, evidence: Evidence, good: Case, broken: list) -> str:
    """The verifier accepts the good case and refuses every other."""
    try:
        ask(verifier, evidence, good)
    except Refused as problem:
        raise Fail(f"refused a good {evidence.kind}\n{problem}") from None
    problems = []
    for case in broken:
        try:
            ask(verifier, evidence, case)
            problems.append(f"accepted: {case.what}")
        except Refused as refusal:
            wrong = verifier.refused_well(refusal, case.codes)
            if wrong is not None:
                problems.append(f"{case.what}: {wrong}")
    if problems:
        raise Fail("\n".join(problems))
    return f"accepted; {len(broken)} broken inputs refused"


def sign(cast: Cast, signer, host, form, trust_name, kind) -> Evidence:
    trust = cast.trust(trust_name, kind, signer)
    name = f"acme/{signer.name.replace(' ', '')}-{form}-{trust_name}-{kind}"
    evidence = Evidence(host, name, form, trust, kind)
    try:
        if kind == "signature":
            signer.sign(evidence.reference, trust, form, ANNOTATIONS)
        else:
            signer.attest(evidence.reference, cast.predicate, trust, form)
    except Refused as problem:
        raise Fail(f"could not sign\n{problem}") from None
    evidence.check_shape()
    return evidence


def judges(cast: Cast, signer, evidence: Evidence) -> list:
    """Who verifies what this signer made."""
    if signer is not cast.ours:
        return [cast.ours]
    found = [cast.ours, cast.cosign3, cast.cosign2]
    if (evidence.form, evidence.kind, evidence.trust.name) == ("older", "signature", "key"):
        found.append(cast.skopeo)
    if (evidence.form, evidence.kind, evidence.trust.name) == ("bundle", "attestation", "keyless"):
        found.append(cast.gh)
    return [verifier for verifier in found if verifier is not None]


def both_ways(table: Table, cast: Cast, registry) -> dict:
    """Every signer, form, kind and trust, and whoever verifies it. Returns what was signed."""
    made = {}
    signers = [signer for signer in (cast.ours, cast.cosign3, cast.cosign2) if signer is not None]
    for signer, trust_name, kind in itertools.product(signers, ("key", "keyless"), KINDS):
        for form in signer.forms:
            key, what = (signer.name, form, trust_name, kind), f"{kind}, {form}, {trust_name}, {registry.name}"

            def begin():
                made[key] = sign(cast, signer, registry.host, form, trust_name, kind)

            if table.row(signer.name, "signs an image", what, begin):
                judged(table, cast, signer, made[key], what)
    return made


def judged(table: Table, cast: Cast, signer, evidence: Evidence, what: str):
    made = []

    def judge(verifier):
        reason = NOBODYS.get((signer.name, evidence.kind, evidence.form, evidence.trust.name))
        if reason is not None:
            raise DoesNotApply(reason)
        if not made:
            # The older form alone, for readers who would take the bundle first.
            both = signer is cast.ours and evidence.form == "older"
            made.append(evidence.alone() if both else evidence)
            made.append(made[0].broken(cast.stranger(evidence.trust)))
        seen, broken = made
        annotated = evidence.form == "older" or signer.annotates_bundles and verifier.annotates_bundles
        if not annotated or not verifier.reads_annotations:
            broken = [case for case in broken if case.annotations is None]
        if verifier is not cast.ours:
            broken = [case for case in broken if case.known]
        good = ANNOTATIONS if annotated and seen.kind == "signature" else None
        return verify(verifier, seen, Case("all of it", seen.reference, seen.trust, good), broken)

    for verifier in judges(cast, signer, evidence):
        client = verifier.name if signer is cast.ours else signer.name
        table.row(client, f"{signer.name} signs, {verifier.name} verifies", what,
                  lambda verifier=verifier: judge(verifier))


def as_cosign_writes(cast: Cast, made: dict) -> str:
    """Countersign's referrer against cosign's: the same manifest, but for digests, sizes and times."""
    def shape(signer):
        evidence = _made(made, signer, "bundle", "keyless", "signature")
        manifest = evidence.repository.bundles(evidence.image["digest"])[0][0]
        listed = evidence.repository.referrers(evidence.image["digest"])[0]
        return _skeleton(manifest), _skeleton(listed)

    (ours, here), (theirs, there) = shape(cast.ours), shape(cast.cosign3)
    if ours != theirs:
        raise Fail(f"expected what cosign writes:\n{json.dumps(theirs)}\nfound:\n{json.dumps(ours)}")
    # cosign leaves the annotations out of the tag that stands in for the referrers API; readers look for them.
    missing = {key: part for key, part in there.items() if here.get(key) != part}
    if missing or "annotations" not in here:
        raise Fail(f"expected a listing with annotations, as\n{json.dumps(there)}\nfound:\n{json.dumps(here)}")
    return "manifest and listing are cosign's"


def _made(made: dict, signer, *what) -> Evidence:
    if (signer.name, *what) not in made:
        raise Fail(f"{signer.name} did not sign this in this run: {', '.join(what)}")
    return made[signer.name, *what]


def _skeleton(value):
    """A document without what differs from image to image."""
    if isinstance(value, dict):
        loose = {"digest", "size", "org.opencontainers.image.created"}
        return {key: type(part).__name__ if key in loose else _skeleton(part) for key, part in sorted(value.items())}
    return [_skeleton(part) for part in value] if isinstance(value, list) else value


def listed(cast: Cast, made: dict) -> str:
    evidence = _made(made, cast.ours, "bundle", "key", "attestation")
    for chosen in (None, BUNDLE):
        found = cast.oras.discover(evidence.reference, chosen)
        types = [referrer.get("artifactType") for referrer in found]
        if types != [BUNDLE]:
            raise Fail(f"expected one referrer of type {BUNDLE}, oras lists {types}")
        annotations = found[0].get("annotations") or {}
        if annotations.get("dev.sigstore.bundle.predicateType") != "https://slsa.dev/provenance/v1":
            raise Fail(f"expected the predicate type in the annotations, oras lists {annotations}")
    if cast.oras.discover(evidence.reference, "application/vnd.example.other"):
        raise Fail("oras lists the bundle under another type too")
    return "one bundle, by its type and with its annotations"


def platforms(cast: Cast, signer, verifier, registry, form: str, recursive: bool) -> str:
    """An index of two images, signed with and without `-r`."""
    name = f"acme/platforms-{signer.name.replace(' ', '')}-{verifier.name.replace(' ', '')}-{int(recursive)}"
    repository = Repository(registry.host, name)
    children = [repository.put_image(f"for {platform}".encode(), platform=platform) |
                {"platform": {"os": "linux", "architecture": platform}} for platform in ("amd64", "arm64")]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
    whole = repository.put_manifest(json.dumps(index).encode(), INDEX, "v1")
    trust = cast.key_for(signer)
    signer.sign(repository.at("v1"), trust, form, recursive=recursive)
    verifier.verify(repository.at("v1"), trust, form)
    for child in children:
        try:
            verifier.verify(repository.at(child["digest"]), trust, form)
            if not recursive:
                raise Fail(f"accepted {child['platform']['architecture']}, which nobody signed")
        except Refused as problem:
            if recursive:
                raise Fail(f"refused {child['platform']['architecture']}\n{problem}") from None
            wrong = verifier.refused_well(problem, "3")
            if wrong:
                raise Fail(f"an image without a signature: {wrong}") from None
    return f"{whole['digest'][:19]}… and {'both' if recursive else 'none'} of its images"


def elsewhere(cast: Cast, signer, verifier, registry) -> str:
    """COSIGN_REPOSITORY: the evidence goes to, and comes from, a repository of its own."""
    evidence = Evidence(registry.host, f"acme/elsewhere-{signer.name}-{verifier.name}".replace(" ", ""), "bundle",
                        cast.key_for(signer), "signature")
    place = Repository(registry.host, evidence.repository.name + "-evidence")
    signer.sign(evidence.reference, evidence.trust, "bundle", COSIGN_REPOSITORY=place.at("x").rsplit(":", 1)[0])
    if evidence.repository.referrers(evidence.image["digest"]):
        raise Fail("the evidence is beside the image")
    verifier.verify(evidence.reference, evidence.trust, "bundle",
                    COSIGN_REPOSITORY=place.at("x").rsplit(":", 1)[0])
    try:
        verifier.verify(evidence.reference, evidence.trust, "bundle")
    except Refused as refusal:
        wrong = verifier.refused_well(refusal, "3")
        if wrong:
            raise Fail(wrong) from None
        return "signed and found there, and only there"
    raise Fail("found a signature beside the image")


def rows(table: Table, cast: Cast, registries: list):
    for name, reason in cast.missing.items():
        def absent(reason=reason):
            raise reason
        table.row(name, "both", "images", absent)
    for client in (cast.cosign3, cast.ours):
        if client is not None:
            table.row(client.name, "generate-key-pair", "with a password", lambda client=client: cast.generate(client))
    for registry in registries:
        made = both_ways(table, cast, registry)
        pairs = [(cast.ours, cast.ours)]
        if cast.cosign3 is not None:
            table.row("cosign 3", "countersign writes what it writes", f"referrer, {registry.name}",
                      lambda: as_cosign_writes(cast, made))
            pairs += [(cast.ours, cast.cosign3), (cast.cosign3, cast.ours)]
        if cast.oras is not None:
            table.row("oras", "countersign attests, oras discovers", registry.name, lambda: listed(cast, made))
        for signer, verifier in pairs:
            several_platforms(table, cast, signer, verifier, registry, "bundle")
            client = verifier.name if signer is cast.ours else signer.name
            table.row(client, f"{signer.name} signs, {verifier.name} verifies", f"COSIGN_REPOSITORY, {registry.name}",
                      lambda: elsewhere(cast, signer, verifier, registry))
        if cast.cosign2 is not None:
            for signer, verifier in [(cast.ours, cast.cosign2), (cast.cosign2, cast.ours)]:
                several_platforms(table, cast, signer, verifier, registry, "older")


def several_platforms(table: Table, cast: Cast, signer, verifier, registry, form: str):
    client = verifier.name if signer is cast.ours else signer.name
    for recursive in (True, False):
        which = "-r" if recursive else "only the index"
        table.row(client, f"{signer.name} signs, {verifier.name} verifies",
                  f"two platforms, {which}, {form}, {registry.name}",
                  lambda: platforms(cast, signer, verifier, registry, form, recursive))
