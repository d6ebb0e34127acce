"""What scripts that build with `countersign build` share: tools of this machine as an archive by digest, a source with a recipe in it, a
build whose provenance is verified."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

# What a step finds beside what it is about.
BASICS = ["sh", "cat", "cp", "mkdir", "rm", "mv", "ln", "ls", "chmod", "touch", "env", "uname", "tr", "sort", "head", "sed", "grep", "dirname",
          "basename", "expr", "find"]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def said(*command, **options):
    return run(*command, capture_output=True, text=True, **options).stdout.strip()


def found(program, path="/usr/bin:/bin"):
    place = shutil.which(program, path=path)
    if not place:
        sys.exit(f"error: {program} is missing on this machine")
    return Path(place)


class Rootfs:
    """A root file system in a directory: files of this machine under the same names, and nothing else."""

    def __init__(self, place):
        self.place = place
        for link in ["bin", "lib", "lib64"]:
            (place / "usr" / link).mkdir(parents=True)
            (place / link).symlink_to(f"usr/{link}")
        (place / "tmp").mkdir()

    def take(self, path):
        """A file, with the links that lead to it."""
        path = Path(os.path.normpath(path))
        if path.parts[1] in ("bin", "lib", "lib64"):
            path = Path("/usr") / path.relative_to("/")
        target = self.place / path.relative_to("/")
        if target.exists() or target.is_symlink():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(os.readlink(path))
            self.take(path.parent / os.readlink(path))
        else:
            shutil.copy2(path, target)

    def take_libraries(self, program, without=None):
        """The libraries of a program or of a library; not those below a directory which comes as a whole."""
        told = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+)", told):
            if not without or not library.startswith(str(without)):
                self.take(library)

    def take_program(self, path):
        self.take(path)
        self.take_libraries(path)

    def take_basics(self):
        for name in BASICS:
            self.take_program(found(name))

    def take_tree(self, top, without=()):
        """All files below a directory, but those in directories of these names."""
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and not set(path.relative_to(top).parts) & set(without):
                self.take(path)

    def pack(self, archive):
        """The same archive for the same files, whenever it is made; gives its digest."""
        with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as packed:
            for path in sorted(self.place.rglob("*")):
                member = packed.gettarinfo(path, arcname=str(path.relative_to(self.place)))
                member.mtime = member.uid = member.gid = 0
                member.uname = member.gname = ""
                if member.isreg():
                    with open(path, "rb") as body:
                        packed.addfile(member, body)
                else:
                    packed.addfile(member)
        with open(archive, "rb") as packed:
            return hashlib.file_digest(packed, "sha256").hexdigest()


def commit(source, time):
    """Commits all that lies in a repository, at a time that is given, so that two runs make the same."""
    run("git", "add", ".", cwd=source)
    who = ["-c", "user.name=countersign", "-c", "user.email=countersign@example.com"]
    run("git", *who, "commit", "--quiet", "--message", "the recipe", cwd=source,
        env={**os.environ, "GIT_COMMITTER_DATE": time, "GIT_AUTHOR_DATE": time})


class Builder:
    """The program, with a key of this run in a directory that all its output goes to."""

    def __init__(self, binary, output):
        self.binary, self.output = binary.resolve(), output
        self.environment = {**os.environ, "COSIGN_PASSWORD": "of this run only"}
        run(self.binary, "generate-key-pair", cwd=output, env=self.environment)
        # Whoever trusts this key for isolated builds, and asks for no log, since none was asked to sign.
        (output / "roots.yaml").write_text("- {profile: countersign, signer: {key: cosign.pub}, unlogged: true}\n")

    def build(self, source, name, places, store, *options, **how):
        """Builds the newest commit of a source into a directory of this name; places by their address."""
        allowed = [word for address, mirror in places.items() for word in ("--place", f"{address}=file://{mirror}/")]
        command = [self.binary, "build", f"git+file://{source}@HEAD", "--key", "cosign.key", "--no-tlog", "--output", name, *allowed,
                   "--store", store, *options]
        return subprocess.run([str(word) for word in command], cwd=self.output, env=self.environment, **how)

    def verify(self, source, name, file):
        run(self.binary, "slsa", "verify", "--roots", "roots.yaml", "--provenance", f"{name}/provenance.sigstore.json", "--level", "3",
            "--source", f"file://{source}", f"{name}/outputs/{file}", cwd=self.output)
