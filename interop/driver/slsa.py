"""Summaries of verification (VSA) that Countersign signs, verified by slsa-verifier and by Countersign's command of the same
name, with the same arguments: both say yes and no alike, but where slsa-verifier cannot read SLSA 1.2."""

import hashlib
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from .table import DoesNotApply, Fail, Skip, Table

VERIFIER, RESOURCE = "https://verify.example", "pkg:generic/app@1.2.3"
BUILDER = "https://builds.example/hermetic"
# How often each command is run for the time.
RUNS = 11
PASSED = "PASSED: SLSA verification passed"


class Case:
    """A key, a file with provenance, and the summary of its verification."""

    def __init__(self, binary: Path, verifier: Path, folder: Path):
        self.binary, self.verifier, self.folder = binary, verifier, folder
        (folder / "app.tar").write_bytes(b"a release\n")
        (folder / "roots.yaml").write_text(
            f"- {{builder: '{BUILDER}', signer: {{key: cosign.pub}}, level: 3, unlogged: true}}\n")
        (folder / "p.json").write_text(json.dumps({
            "buildDefinition": {"buildType": "https://countersign.dev/buildtypes/recipe/v1", "externalParameters": {
                "source": {"uri": "git+https://github.com/acme/shop", "ref": "refs/tags/v1"}, "configPath": "b.toml"}},
            "runDetails": {"builder": {"id": BUILDER}}}))
        self.own("generate-key-pair")
        self.own("attest-blob", "--key", "cosign.key", "--no-tlog", "--predicate", "p.json", "--type", "slsaprovenance1",
                 "--bundle", "app.tar.sigstore.json", "app.tar")
        self.own("slsa", "summarize", "app.tar", "--roots", "roots.yaml", "--source", "github.com/acme/shop",
                 "--verifier-id", VERIFIER, "--resource-uri", RESOURCE, "--key", "cosign.key", "--no-tlog",
                 "--summary", "vsa.json")
        # slsa-verifier reads the envelope, and no bundle around it.
        envelope = json.loads((folder / "vsa.json").read_text())["dsseEnvelope"]
        (folder / "vsa.dsse.json").write_text(json.dumps(envelope))
        payload = envelope["payload"]
        (folder / "altered.json").write_text(json.dumps({**envelope, "payload": payload.replace("e", "f", 1)}))

    def _run(self, command):
        # Nothing of the person's own: neither keys nor an instance.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "COSIGN_PASSWORD": "interop"}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60)

    def own(self, *arguments):
        done = self._run([str(self.binary), *arguments])
        if done.returncode != 0:
            raise Fail(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")

    def verify(self, program, file="vsa.dsse.json", digest=None, **changed):
        """Runs one of the two and gives whether it says yes."""
        digest = digest or "sha256:" + hashlib.sha256((self.folder / "app.tar").read_bytes()).hexdigest()
        given = {"verifier-id": VERIFIER, "resource-uri": RESOURCE, "verified-level": "SLSA_BUILD_LEVEL_3",
                 "public-key-path": "cosign.pub", **{name.replace("_", "-"): value for name, value in changed.items()}}
        start = [str(self.verifier)] if program == "slsa-verifier" else [str(self.binary), "slsa"]
        flags = [word for name, value in given.items() for word in (f"--{name}", value)]
        done = self._run([*start, "verify-vsa", "--attestation-path", file, "--subject-digest", digest, *flags])
        if done.returncode not in (0, 1) or (done.returncode == 0) != (PASSED in done.stderr):
            raise Fail(f"{program}: {done.returncode}\n{done.stderr}")
        return done.returncode == 0, done.stderr


BROKEN = {
    "another digest": {"digest": "sha256:" + "0" * 64},
    "an altered summary": {"file": "altered.json"},
    "another verifier": {"verifier_id": VERIFIER + "/v2"},
    "another resource": {"resource_uri": RESOURCE + "0"},
    "a higher level": {"verified_level": "SLSA_BUILD_LEVEL_4"},
    "a level of the verifier's own": {"verified_level": "FEDRAMP_HIGH"},
}


def rows(table: Table, binary: Path, parent: Path, found):
    folder = parent / "slsa"
    folder.mkdir()
    made = {}

    def case():
        if isinstance(found["slsa-verifier"], Exception):
            raise Skip(str(found["slsa-verifier"]))
        if not made:
            made["case"] = Case(binary, found["slsa-verifier"], folder)
        return made["case"]

    def good(program):
        yes, said = case().verify(program)
        if not yes:
            raise Fail(said)

    def refused(program, change):
        change = dict(change)
        # Levels above 3 are no words of SLSA's build track: ours says so before it reads.
        yes, said = case().verify(program, **change)
        if yes:
            raise Fail(f"accepted: {said}")

    for program in ("slsa-verifier", "countersign"):
        table.row(program, "verify-vsa", "a summary of countersign", lambda program=program: good(program))
        for what, change in BROKEN.items():
            table.row(program, "verify-vsa", f"{what} is refused",
                      lambda program=program, change=change: refused(program, change))

    def words(program):
        yes, said = case().verify(program, verified_level="SLSA_BUILD_REPRODUCED")
        if yes:
            raise Fail("it has no such property")
        if "invalid SLSA level" in said:
            raise DoesNotApply("slsa-verifier reads no word of SLSA 1.2 but LEVEL_n")

    def bundled(program):
        yes, said = case().verify(program, file="vsa.json")
        if not yes and program == "slsa-verifier":
            raise DoesNotApply("slsa-verifier reads no summary in a Sigstore bundle")
        if not yes:
            raise Fail(said)

    for program in ("slsa-verifier", "countersign"):
        table.row(program, "verify-vsa", "a property of SLSA 1.2 that it has not", lambda program=program: words(program))
        table.row(program, "verify-vsa", "the summary in its bundle", lambda program=program: bundled(program))

    def times():
        def median(program):
            taken = []
            for _ in range(RUNS):
                start = time.perf_counter()
                good(program)
                taken.append((time.perf_counter() - start) * 1000)
            return statistics.median(taken)

        own, other = median("countersign"), median("slsa-verifier")
        return f"{own:.0f} ms, slsa-verifier {other:.0f} ms (median of {RUNS}, process and all)"

    table.row("countersign", "verify-vsa", "how long it takes", times)
