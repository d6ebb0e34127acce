"""The clients that sign and verify images, each behind the same verbs.

What is signed with is a `Trust`: a key pair, or an identity whose token the instance takes. A `form` is where the
evidence goes: "bundle" (a referrer, or the tag that stands in for one) or "older" (tags that end in .sig and .att).
A verb returns nothing when the client said yes and raises `Refused` when it said no.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from .clients import PREDICATE_TYPE, Refused, command
from .instance import OWNER, Instance

PASSWORD = "interop password"
# cosign's name for PREDICATE_TYPE.
TYPE = "slsaprovenance1"
# Whoever asks a public service all the same is told at once that there is none; nobody asks this proxy for loopback.
ALONE = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.1"}


@dataclass(frozen=True)
class Trust:
    """Who signs, and how that is asked for. `name` is "key" or "keyless"."""

    name: str
    private: Path | None = None
    public: Path | None = None
    token: Path | None = None
    identity: str = ""
    issuer: str = ""

    def other(self, **changes) -> "Trust":
        return replace(self, **changes)


class ImageClient:
    """cosign's verbs and flags. Subclasses say what differs."""

    # Which forms it writes, and whether it knows annotations: at all, and in bundles.
    forms = ("bundle",)
    reads_annotations = annotates_bundles = True

    def __init__(self, name: str, binary, instance: Instance, folder: Path):
        self.name, self.binary, self.instance = name, binary, instance
        home = folder / f"home of {name}"
        home.mkdir(exist_ok=True)
        # A client finds its trust in the files that it is given, and no credentials in somebody's home.
        self.environment = {
            "HOME": str(home), "DOCKER_CONFIG": str(home), "TUF_ROOT": str(home / "no-tuf-root"),
            "COSIGN_PASSWORD": PASSWORD, "NO_COLOR": "1", **ALONE,
        }

    def run(self, *arguments, **environment) -> str:
        return command([self.binary, *arguments], {**self.environment, **environment})

    def documents(self):
        return ["--signing-config", self.instance.signing_config, "--trusted-root", self.instance.trusted_root]

    def signing(self, trust: Trust, form: str):
        who = ["--key", trust.private] if trust.name == "key" else ["--identity-token", trust.token]
        return [*who, "--yes", *self.documents()]

    def asked(self, trust: Trust, form: str):
        """What verification is asked for."""
        root = ["--trusted-root", self.instance.trusted_root]
        # The older form has no place for an entry of a Rekor v2 log: time comes from the timestamp, or not at all.
        if trust.name == "key":
            return ["--key", trust.public, *(["--insecure-ignore-tlog"] if form == "older" else []), *root]
        return ["--certificate-identity", trust.identity, "--certificate-oidc-issuer", trust.issuer, *root,
                *(["--insecure-ignore-tlog", "--use-signed-timestamps"] if form == "older" else [])]

    def sign(self, references, trust, form, annotations=None, recursive=False, **environment):
        self.run("sign", *self.signing(trust, form), *_annotations(annotations), *(["-r"] if recursive else []),
                 *_list(references), **environment)

    def attest(self, reference, predicate, trust, form):
        self.run("attest", "--predicate", predicate, "--type", TYPE, *self.signing(trust, form), reference)

    def verify(self, reference, trust, form, annotations=None, **environment) -> str:
        return self.run("verify", *self.asked(trust, form), *_annotations(annotations), reference, **environment)

    def verify_attestation(self, reference, trust, form, kind=TYPE) -> str:
        return self.run("verify-attestation", "--type", kind, *self.asked(trust, form), reference)

    def refused_well(self, refusal: Refused, reasons: str):
        """None when this refusal is a verdict on what was given; else what is wrong with it. Of others, any no is one:
        the same command line said yes to the good input."""
        return None


def _as_before(instance, trust):
    """How cosign was told of its services before there were signing configurations."""
    who = ["--key", trust.private] if trust.name == "key" else [
        "--identity-token", trust.token, "--fulcio-url", instance.url,
        "--timestamp-server-url", f"{instance.url}/api/v1/timestamp", "--trusted-root", instance.trusted_root,
    ]
    # Its own way to the log is Rekor v1, and the instance's log is v2.
    return [*who, "--yes", "--tlog-upload=false"]


def _annotations(annotations):
    return [part for pair in (annotations or {}).items() for part in ("-a", "=".join(pair))]


def _list(references):
    return [references] if isinstance(references, (str, Path)) else references


class Cosign3(ImageClient):
    forms = ("bundle", "older")

    def signing(self, trust, form):
        return super().signing(trust, form) if form == "bundle" else [
            *_as_before(self.instance, trust), "--new-bundle-format=false", "--use-signing-config=false"]


class Cosign2(ImageClient):
    """cosign v2.6: the older form is its own, the bundle one it knows already."""

    forms = ("older", "bundle")
    annotates_bundles = False

    def signing(self, trust, form):
        if form == "bundle":
            return [*super().signing(trust, form), "--new-bundle-format"]
        return _as_before(self.instance, trust)

    def verify_attestation(self, reference, trust, form, kind=TYPE):
        if (trust.name, form) != ("keyless", "older"):
            return super().verify_attestation(reference, trust, form, kind)
        # Here it reads no trusted root: its parts come in files, under the names of older days.
        roots, stamps, log = self.instance.parts()
        return self.run("verify-attestation", "--type", kind, "--certificate-identity", trust.identity,
                        "--certificate-oidc-issuer", trust.issuer, "--insecure-ignore-tlog",
                        "--timestamp-certificate-chain", stamps, reference,
                        SIGSTORE_ROOT_FILE=str(roots), SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=str(log))

    def asked(self, trust, form):
        # In bundles too it takes the time from a timestamp only when it is told to; the log gives none.
        timed = ["--use-signed-timestamps"] if (trust.name, form) == ("keyless", "bundle") else []
        return [*super().asked(trust, form), *timed]


class CountersignImages(ImageClient):
    """Countersign under cosign's names and flags. It writes both forms when it is asked to."""

    forms = ("bundle", "older")

    def signing(self, trust, form):
        return [*super().signing(trust, form), *(["--also-legacy"] if form == "older" else [])]

    def refused_well(self, refusal, reasons):
        # 2 does not verify, 3 nothing there, 4 somebody else's; usage, trust root, network and faults are no verdicts.
        if str(refusal.code) not in reasons.split():
            return f"expected exit code {reasons}\n{refusal}"
        return None


class GhImages:
    """GitHub's gh, which takes attestations of a GitHub workflow from a registry."""

    name = "gh"
    reads_annotations = annotates_bundles = False

    def __init__(self, folder: Path, instance: Instance, home: Path):
        self.binary, self.instance = folder / "gh", instance
        home = home / "home of gh"
        home.mkdir(exist_ok=True)
        self.environment = {"HOME": str(home), "DOCKER_CONFIG": str(home), "GH_CONFIG_DIR": str(home),
                            "GH_TOKEN": "none", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", **ALONE}

    def verify_attestation(self, reference, trust, form, kind=PREDICATE_TYPE):
        answer = command(
            [self.binary, "attestation", "verify", f"oci://{reference}", "--bundle-from-oci", "--owner", OWNER,
             "--custom-trusted-root", self.instance.root_line, "--cert-identity", trust.identity,
             "--cert-oidc-issuer", trust.issuer, "--predicate-type", kind, "--format", "json"], self.environment,
        )
        if not json.loads(answer):
            raise Refused("gh printed an empty list of verified attestations")

    def refused_well(self, refusal, reasons):
        return None


class Skopeo:
    """The library of skopeo (`go/policy-copy`) copies an image only if a policy lets it: here, one that wants a
    signature of the older form by a key."""

    name = "skopeo"
    reads_annotations = annotates_bundles = False

    def __init__(self, binary: Path, folder: Path):
        self.binary, self.folder = binary, folder / "skopeo"
        self.folder.mkdir()
        registries = self.folder / "registries.d"
        registries.mkdir()
        (registries / "default.yaml").write_text("default-docker:\n  use-sigstore-attachments: true\n")
        self.registries, self.number = registries, 0

    def verify(self, reference, trust, form, annotations=None):
        # The signature names the repository that the image was signed in; copies of it add to the name (see evidence).
        signed_in = reference.partition("@")[0].partition("--")[0]
        policy = self.folder / "policy.json"
        policy.write_text(json.dumps({
            "default": [{"type": "reject"}],
            "transports": {"docker": {"": [{
                "type": "sigstoreSigned", "keyPath": str(trust.public),
                "signedIdentity": {"type": "exactRepository", "dockerRepository": signed_in},
            }]}},
        }))
        self.number += 1
        command([self.binary, policy, self.registries, reference, self.folder / str(self.number)],
                {"HOME": str(self.folder), "DOCKER_CONFIG": str(self.folder)})

    def refused_well(self, refusal, reasons):
        return None


class Oras:
    """oras lists what is attached to an image."""

    name = "oras"

    def __init__(self, binary: Path, folder: Path):
        self.binary, self.home = binary, folder / "home of oras"
        self.home.mkdir(exist_ok=True)

    def run(self, *arguments) -> str:
        return command([self.binary, *arguments], {"HOME": str(self.home), "DOCKER_CONFIG": str(self.home)})

    def discover(self, reference, artifact_type=None) -> list:
        """The referrers of an image, as oras lists them."""
        chosen = ["--artifact-type", artifact_type] if artifact_type else []
        answer = json.loads(self.run("discover", "--plain-http", "--format", "json", *chosen, reference))
        return answer.get("referrers") or answer.get("manifests") or []
