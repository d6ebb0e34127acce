"""Bills of materials as syft and npm write them: signed by either program, verified by the other, and read."""

import os
import shutil

from .clients import Refused, command
from .install import HERE
from .table import Fail, Skip, Table

# Elements of the NTIA's list that a program leaves out of each document it writes here.
LEFT_OUT = {
    ("npm", "cyclonedx"): {"supplier"}, ("npm", "spdxjson"): {"supplier"},
    ("syft", "cyclonedx"): {"supplier", "version", "identifier"}, ("syft", "spdxjson"): {"supplier"},
}


def _write(writer, form, project, target, found):
    environment = {"NPM_CONFIG_UPDATE_NOTIFIER": "false", "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    if writer == "syft":
        if isinstance(found["syft"], Exception):
            raise Skip(str(found["syft"]))
        name = {"cyclonedx": "cyclonedx-json", "spdxjson": "spdx-json"}[form]
        command([found["syft"], "-q", f"dir:{project}", "-o", f"{name}={target}"], environment)
        return
    if shutil.which("npm") is None:
        raise Skip("npm is not installed")
    kind = {"cyclonedx": "cyclonedx", "spdxjson": "spdx"}[form]
    here = os.getcwd()
    os.chdir(project)
    try:
        said = command(["npm", "sbom", "--sbom-format", kind, "--package-lock-only", "--offline"], environment)
    finally:
        os.chdir(here)
    target.write_text(said)


def rows(table: Table, instance, found, work):
    project = work.folder / "project"
    shutil.copytree(HERE / "js", project)
    token = work.folder / "attestation.token"
    workflow = next(kind for kind in work.kinds if kind.name == "attestation")
    who = ["--certificate-identity", workflow.identity, "--certificate-oidc-issuer", work.issuers["attestation"]]
    home = {"HOME": str(instance.folder), "TUF_ROOT": str(instance.folder / "no-tuf-root")}
    trust = ["--trusted-root", instance.trusted_root]
    programs = {"cosign": found["cosign"], "countersign": instance.binary}

    def program(name):
        if isinstance(programs[name], Exception):
            raise Skip(str(programs[name]))
        return programs[name]

    for writer, form in LEFT_OUT:
        document = work.folder / f"{writer}.{form}.json"
        table.row(writer, "writes", f"a bill of materials, {form}", lambda: _write(writer, form, project, document, found))
        for signer, verifier in (("cosign", "countersign"), ("countersign", "cosign")):
            bundle = work.folder / f"{writer}.{form}.{signer}.sigstore.json"

            def between():
                command([program(signer), "attest-blob", "--predicate", document, "--type", form, "--bundle", bundle,
                         "--identity-token", token, "--yes", "--signing-config", instance.signing_config, *trust,
                         work.artifact], home)
                command([program(verifier), "verify-blob-attestation", "--type", form, "--bundle", bundle, *trust, *who,
                         work.artifact], home)

            table.row(verifier, f"verifies {signer}", f"a bill of materials of {writer}, {form}", between)
            table.row("countersign", "reads", f"a bill of materials of {writer}, {form}, signed by {signer}",
                      lambda: _read(instance, bundle, trust, who, work, LEFT_OUT[writer, form], home))


def _read(instance, bundle, trust, who, work, left_out, home):
    """It is about the artifact; just the elements that are known to be left out are missed; another artifact is refused."""
    check = [instance.binary, "sbom", "check", *trust, *who]
    without = [word for element in sorted(left_out) for word in ("--without", element)]
    command([*check, *without, bundle, work.artifact], home)
    for artifact, without, what in [(work.other, without, "another artifact"), *(
            (work.artifact, [word for other in sorted(left_out - {element}) for word in ("--without", other)], element)
            for element in sorted(left_out))]:
        try:
            command([*check, *without, bundle, artifact], home)
        except Refused:
            continue
        raise Fail(f"it passed in spite of {what}")
    return "all but " + ", ".join(sorted(left_out))
