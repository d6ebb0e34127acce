"""Two registries on loopback, written by others: one without the referrers API and one with it.

Both keep their data in the run's folder or in memory, choose their own port and end with the run.
"""

import re
import subprocess
import threading
import time
from pathlib import Path

from .instance import http
from .table import DoesNotApply, Fail, Skip, Table


class Registry:
    """A registry's process. `host` is where it listens, as references name it."""

    def __init__(self, name: str, command: list, folder: Path):
        self.name = name
        self.log = folder / f"{name}.log"
        self.lines = []
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.host = self._wait()
        except Fail:
            self.stop()
            raise

    def _read(self):
        with self.log.open("w") as log:
            for line in self.process.stdout:
                # Only what says where it listens is needed; the whole stays in the file.
                if "listening on" in line:
                    self.lines.append(line)
                log.write(line)

    def _wait(self) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Fail(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()}")
            found = re.search(r"listening on (127\.0\.0\.1:[0-9]+)", "".join(self.lines))
            try:
                # 401 is an answer too: the private one wants a token.
                if found and http("GET", f"http://{found.group(1)}/v2/")[0] in (200, 401):
                    return found.group(1)
            except OSError:
                pass
            time.sleep(0.02)
        raise Fail(f"{self.name} was not ready after 30 s:\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)


def docker_registry(program: Path, folder: Path, name="docker-registry", tokens=None, realm="") -> Registry:
    """Debian's docker-registry: no referrers API. With `tokens`, it takes only what that token server has signed, and
    sends others to `realm`."""
    settings = folder / f"{name}.yml"
    settings.write_text(f"""version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
http: {{addr: "127.0.0.1:0", relativeurls: true}}
storage:
  filesystem: {{rootdirectory: "{folder / name}"}}
  delete: {{enabled: true}}
  cache: {{blobdescriptor: inmemory}}
""" + ("" if tokens is None else f"""auth:
  token: {{realm: "{realm}", service: "{tokens.SERVICE}", issuer: "{tokens.ISSUER}",
          rootcertbundle: "{tokens.certificate}"}}
"""))
    return Registry(name, [program, "serve", settings], folder)


def referrers_registry(program: Path, folder: Path) -> Registry:
    """The program in `go/referrers-registry`: it has the referrers API and answers a push with OCI-Subject."""
    return Registry("referrers-registry", [program], folder)


def start(table: Table, found, folder: Path) -> list:
    """Both registries, one row each."""
    opened = []
    for name, make in [("docker-registry", docker_registry), ("referrers-registry", referrers_registry)]:
        def begin(name=name, make=make):
            if isinstance(found[name], Exception):
                raise Skip(str(found[name]))
            opened.append(make(found[name], folder))
            return opened[-1].host
        table.row(name, "registry", "starts", begin, needed=True)

    def zot():
        raise DoesNotApply("its Go module is not served; the registry with the referrers API is another one")

    table.row("zot", "registry", "referrers API", zot)
    return opened
