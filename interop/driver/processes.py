"""Servers of a log as processes on loopback: ours, and those of others."""

import http.client
import os
import subprocess
import time
from pathlib import Path

from .stores import ACCESS, SECRET, free_port, listens, wait
from .table import Fail


class Process:
    """A program that serves on a port of its own. `command` gets the port and gives the whole command."""

    def __init__(self, command, log: Path, environment=None):
        self.port, self.log = free_port(), log
        self.command, self.environment = [str(part) for part in command(self.port)], environment or {}
        self.process = None

    def start(self, most: float = 60, ready=None, pause: float = 0.1) -> float:
        """How many seconds it took until it was ready: until it listens, if nothing else is said."""
        started = time.monotonic()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, env={**os.environ, "NO_COLOR": "1", **self.environment},
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def come():
            if self.process.poll() is not None:
                raise Fail(f"{Path(self.command[0]).name} ended with {self.process.returncode}:\n"
                           f"{self.log.read_text()[-3000:]}")
            return listens(self.port) and (ready is None or ready(self))

        wait(Path(self.command[0]).name, come, most, pause)
        return time.monotonic() - started

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()

    def ask(self, path: str):
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> bytes:
        status, body = self.ask(path)
        if status != 200:
            raise Fail(f"GET {path}: expected 200, found {status}: {body[:300]!r}")
        return body

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def front_end(binary: Path, data: Path, log: Path) -> Process:
    """One `countersign serve` of the log of an instance."""
    return Process(lambda port: [binary, "serve", data, "--roles", "log", "--listen", f"127.0.0.1:{port}"], log,
                   {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "XDG_STATE_HOME": str(data.parent / "state")})


def program(binary: Path, *arguments) -> str:
    """What a command of ours says, with the object store's credentials at hand."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    done = subprocess.run([str(binary), *map(str, arguments)], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Fail(f"countersign {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
    return done.stdout


def move(binary: Path, data: Path, to: str) -> str:
    """Moves the logs of an instance: distributed or local."""
    return program(binary, "log", "migrate", "--to", to, data)


def make(binary: Path, data: Path, database: str = "", objects: str = "") -> str:
    """Makes an instance, and moves its log to a database and an object store if they are named."""
    said = program(binary, "init", data, "--dev", "--requests-per-second", "0")
    if not database:
        return said
    with (data / "countersign.toml").open("a") as config:
        config.write(f"\n[store]\ndatabase = \"{database}\"\nobjects = \"{objects}\"\n")
    return move(binary, data, "distributed")
