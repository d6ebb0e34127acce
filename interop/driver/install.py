"""Installs the pinned clients into a cache outside the clone, once per version.

Each client has a folder whose name holds its version, or the hash of its lock file. A folder appears under its
final name only when the installation is complete, so an interrupted one is done again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import pins

HERE = Path(__file__).resolve().parent.parent


class Unavailable(Exception):
    """A client cannot be installed on this machine."""


def cache() -> Path:
    given = os.environ.get("COUNTERSIGN_INTEROP_CACHE")
    path = Path(given) if given else Path.home() / ".cache" / "countersign-interop"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _run(command, **options) -> str:
    """What a command says."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}")
    return done.stdout


def _install(name: str, into) -> Path:
    """Runs `into(folder)` unless the folder `name` is complete. Two runs at once install it one after the other."""
    final = cache() / name
    if (final / ".complete").exists():
        return final
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (final / ".complete").exists():
            print(f"installing {name}", file=sys.stderr, flush=True)
            shutil.rmtree(final, ignore_errors=True)
            final.mkdir(parents=True)
            into(final)
            (final / ".complete").write_text("")
    return final


def go(name: str) -> Path:
    package, version = pins.GO[name]

    def into(folder: Path):
        environment = {**os.environ, "GOBIN": str(folder)}
        _run(["nice", "go", "install", f"{package}@{version}"], env=environment, cwd=tempfile.gettempdir())

    return _install(f"{name}-{version}", into) / package.rsplit("/", 1)[-1]


def go_here(name: str) -> Path:
    """A program whose source is in `go/NAME`."""
    source = HERE / "go" / name

    def into(folder: Path):
        # The tag is for the library of skopeo: OpenPGP in Go, in place of a library of the system's.
        _run(["nice", "go", "build", "-trimpath", "-tags", "containers_image_openpgp", "-o", str(folder / name), "."],
             cwd=source)

    return _install(f"{name}-{_hash(*(source / part for part in ('main.go', 'go.mod', 'go.sum')))}", into) / name


def go_pinned(name: str) -> Path:
    """A program of others, built from the module in `go/NAME`."""
    source = HERE / "go" / name

    def into(folder: Path):
        _run(["nice", "go", "build", "-trimpath", "-o", str(folder / name), pins.GO_PINNED[name]], cwd=source)

    return _install(f"{name}-{_hash(source / 'go.mod', source / 'go.sum')}", into) / name


def control_plane() -> Path:
    """The folder with kube-apiserver, kube-controller-manager and kubectl, built from `kubernetes/go.mod`. The first build
    takes a quarter of an hour of processor time."""
    source = HERE / "kubernetes"

    def into(folder: Path):
        packages = [f"k8s.io/kubernetes/cmd/{name}" for name in pins.CONTROL_PLANE]
        version = _run(["go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"], cwd=source).strip()
        # Built from a module it would call itself v0.0.0, and charts want to know better.
        named = f"-X k8s.io/component-base/version.gitVersion={version}"
        _run(["nice", "go", "build", "-trimpath", "-ldflags", named, "-o", str(folder), *packages], cwd=source)

    return _install(f"control-plane-{_hash(source / 'go.mod', source / 'go.sum')}", into)


KYVERNO = HERE / "kubernetes" / "peers"


def kyverno(program: str = "cli/kubectl-kyverno") -> Path:
    """A program of Kyverno, built from `kubernetes/peers/go.mod`: its command line, or its admission controller (`kyverno`)."""
    name = program.rsplit("/", 1)[-1]

    def into(folder: Path):
        _run(["nice", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder),
              f"github.com/kyverno/kyverno/cmd/{program}"], env={**os.environ, "CGO_ENABLED": "0"}, cwd=KYVERNO)

    return _install(f"{name}-{_hash(KYVERNO / 'go.mod', KYVERNO / 'go.sum')}", into) / name


def kyverno_module() -> Path:
    """The folder of Kyverno's module."""
    found = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", "github.com/kyverno/kyverno"], cwd=KYVERNO,
                           capture_output=True, text=True)
    if found.returncode != 0:
        raise Unavailable(found.stderr)
    return Path(found.stdout.strip())


def _hash(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def python(name: str) -> Path:
    """The `bin` folder of an environment."""
    requirements = HERE / "requirements" / f"{name}.txt"

    def into(folder: Path):
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = folder / "bin" / "pip"
        _run(["nice", str(pip), "install", "--quiet", "--no-deps", "--requirement", str(requirements)])

    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _install(f"python{tag}-{name}-{_hash(requirements)}", into) / "bin"


def transit() -> Path:
    """The program in `transit/`, built against the pinned modules."""
    source = HERE / "transit" / "main.go"
    versions = [f"{module}@{version}" for module, version in pins.TRANSIT.items()]

    def into(folder: Path):
        shutil.copy(source, folder)
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        for arguments in [["mod", "init", "transit"], ["get", *versions], ["build", "-o", "transit", "."]]:
            _run(["nice", "go", *arguments], env=environment, cwd=folder)

    return _install(f"transit-{pins.TRANSIT['github.com/hashicorp/vault']}-{_hash(source)}", into) / "transit"


def javascript() -> Path:
    """The `node_modules` folder with both generations of sigstore-js."""
    files = [HERE / "js" / name for name in ("package.json", "package-lock.json", ".npmrc")]

    def into(folder: Path):
        for file in files:
            shutil.copy(file, folder)
        _run(["nice", "npm", "ci", "--ignore-scripts"], cwd=folder)

    return _install(f"js-{_hash(*files)}", into) / "node_modules"


def everything(part: str | None = None) -> dict:
    """Installs all clients, or those of one part. The values are paths, or the reason why a client is not available."""
    found = {}
    jobs = [(name, lambda name=name: go(name)) for name in pins.GO]
    jobs += [(name, lambda name=name: go_here(name)) for name in pins.GO_HERE]
    jobs += [(name, lambda name=name: go_pinned(name)) for name in pins.GO_PINNED]
    jobs += [(name, lambda name=name: python(name)) for name in pins.PYTHON]
    jobs += [("js", javascript), ("transit", transit), ("kyverno", kyverno)]
    for name, job in jobs:
        if part == "images" and name not in pins.IMAGES:
            continue
        try:
            found[name] = job()
        except Unavailable as reason:
            found[name] = reason
    for name in pins.SYSTEM:
        path = shutil.which(name)
        found[name] = Path(path) if path else Unavailable(f"{name} is not installed")
    return found


def build() -> Path:
    """The program itself, in release mode."""
    root = HERE.parent
    packages = ["--package", "countersign", "--package", "countersign-conformance"]
    subprocess.run(["cargo", "build", "--release", "--locked", *packages], cwd=root, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or root / "target")
    return root / target / "release" / "countersign"
