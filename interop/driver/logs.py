"""Logs that `bench-log` sets beside each other: ours on both stores, and those of others."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

from . import install
from .processes import Process, front_end, make
from .stores import Bucket, Pair, free_port
from .table import Fail
from .tree import checkpoint


def blocks(*folders: Path) -> int:
    """What the file system has given away for what is below. What goes away meanwhile is not counted."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(parent, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
    return total


class Server:
    """A log that is served by one process, or by several, while it is entered."""

    name = ""

    def __init__(self, program: Path, folder: Path):
        self.program, self.folder = program, folder
        self.processes, self.closing = [], ExitStack()

    def __enter__(self):
        try:
            self.open()
        except BaseException:
            self.closing.close()
            raise
        return self

    def __exit__(self, *_):
        self.closing.close()

    def keep(self, part):
        """Something that is stopped at the end."""
        self.closing.callback(part.stop)
        return part

    def add(self, process: Process) -> float:
        self.processes.append(self.keep(process))
        return self.start(process)

    def start(self, process: Process) -> float:
        return process.start(pause=0.005)

    def addresses(self) -> list:
        return [f"127.0.0.1:{process.port}" for process in self.processes]

    def memory(self) -> int:
        return sum(process.memory() for process in self.processes)

    def stop_all(self):
        for process in self.processes:
            process.stop()

    def start_again(self) -> float:
        """Stops all processes and starts one on what is there."""
        self.stop_all()
        del self.processes[1:]
        return self.start(self.processes[0])


class Local(Server):
    """Ours on files of one machine."""

    name = "countersign, local files"

    def open(self):
        make(self.program, self.data)
        self.widen()

    @property
    def data(self) -> Path:
        return self.folder / "instance"

    def widen(self):
        """One more front end."""
        self.add(front_end(self.program, self.data, self.folder / f"server-{len(self.processes)}.log"))

    def start(self, process: Process) -> float:
        return process.start(ready=lambda p: p.ask("/readyz")[0] == 200, pause=0.005)

    def disk(self) -> int:
        return blocks(self.data)

    def size(self) -> int:
        return checkpoint(self.processes[0].get("/api/v2/checkpoint").decode())[0]


class Distributed(Local):
    """Ours on PostgreSQL and an object store."""

    name, standby = "countersign, PostgreSQL + S3", False

    def open(self):
        self.folder.chmod(0o755)
        self.pair = self.keep(Pair(self.folder / "postgres", self.standby))
        self.bucket = self.keep(Bucket(self.folder / "bucket"))
        make(self.program, self.data, self.pair.url(), self.bucket.url())
        self.widen()

    def disk(self) -> int:
        """The tables and indexes of the primary, without its log of changes, and the objects with their attributes."""
        return int(self.pair.primary.sql("SELECT pg_database_size('postgres')")) + blocks(self.bucket.folder)


class Replicated(Distributed):
    """The same, with nothing committed that a standby has not on its disk."""

    name, standby = "countersign, PostgreSQL with a synchronous standby + S3", True


class Files(Server):
    """A log of others, whose checkpoint is a file."""

    @property
    def files(self) -> Path:
        return self.folder / "log"

    def disk(self) -> int:
        return blocks(self.files)

    def size(self) -> int:
        file = self.files / "checkpoint"
        return checkpoint(file.read_text())[0] if file.exists() else 0


class Tessera(Files):
    """Tessera's POSIX driver with as little around it as can be."""

    name = "Tessera, POSIX"

    def open(self):
        program = install.go_here("tessera-log")
        self.add(Process(lambda port: [program, f"127.0.0.1:{port}", self.folder], self.folder / "server.log"))


class RekorTiles(Files):
    """Rekor v2 itself, on files, which finds older entries again as ours does."""

    name = "rekor-tiles, POSIX"

    def open(self):
        program, key = install.go("rekor-server"), self.folder / "key.pem"
        made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], capture_output=True, text=True)
        if made.returncode != 0:
            raise Fail(f"openssl genpkey: {made.stderr}")
        self.add(Process(lambda port: [
            program, "serve", f"--storage-dir={self.files}", f"--signer-filepath={key}", "--hostname=log.example",
            "--http-address=127.0.0.1", f"--http-port={port}", "--grpc-address=127.0.0.1", f"--grpc-port={free_port()}",
            f"--http-metrics-port={free_port()}", "--batch-max-age=10ms", "--checkpoint-interval=100ms",
            "--persistent-antispam", "--log-level=warn",
        ], self.folder / "server.log"))


PEERS = [Tessera, RekorTiles]
