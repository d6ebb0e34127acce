"""What a log past one machine stands on: PostgreSQL with a synchronous standby, and a server of the S3 kind, all on
loopback and in one directory."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import install
from .table import Fail

ACCESS, SECRET = "drill", "drill-of-fail-over"
FOLDERS = ["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(what: str, ready, most: float = 60, pause: float = 0.1):
    end = time.monotonic() + most
    while not ready():
        if time.monotonic() > end:
            raise Fail(f"{what}: not after {most:.0f} s")
        time.sleep(pause)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Postgres:
    """One server of a pair. It must not run as root; where we do, it runs as `postgres` or `nobody`."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.port = folder, port
        self.log = folder.parent / f"postgres-{port}.log"
        self.process = None

    @staticmethod
    def command(name: str, *arguments) -> list:
        program = shutil.which(name, path=os.pathsep.join([*FOLDERS, os.environ.get("PATH", "")]))
        if program is None:
            raise install.Unavailable(f"{name} is not installed (Debian's package postgresql)")
        command = [program, *map(str, arguments)]
        if os.getuid() != 0:
            return command
        known = subprocess.run(["id", "postgres"], capture_output=True).returncode == 0
        return ["setpriv", f"--reuid={'postgres' if known else 'nobody'}", "--clear-groups", *command]

    def run(self, name: str, *arguments):
        done = subprocess.run(self.command(name, *arguments), capture_output=True, text=True, cwd="/")
        if done.returncode != 0:
            raise Fail(f"{name}: {done.stdout}{done.stderr}")
        return done.stdout

    def sql(self, text: str) -> str:
        address = f"host=127.0.0.1 port={self.port} user=tester dbname=postgres connect_timeout=3"
        return self.run("psql", address, "-XAtc", text).strip()

    def make(self):
        self.run("initdb", "--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C", "-D", self.folder)
        with (self.folder / "pg_hba.conf").open("a") as rules:
            rules.write("host replication all 127.0.0.1/32 trust\n")

    def copy_of(self, primary):
        """A standby of another server."""
        self.run("pg_basebackup", "-h", "127.0.0.1", "-p", primary.port, "-U", "tester", "-D", self.folder, "-R", "-c",
                 "fast")
        # What it would demand of a standby of its own, once it is promoted: there is none yet.
        with (self.folder / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")

    def start(self):
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}", "-c", "max_connections=100",
                    "-c", f"unix_socket_directories={self.folder.parent}"]
        log = self.log.open("a")
        self.process = subprocess.Popen(self.command("postgres", "-D", self.folder, *settings), stdout=log, stderr=log,
                                        cwd="/")
        wait(f"PostgreSQL on {self.port}", lambda: self.answers())

    def answers(self) -> bool:
        try:
            return self.sql("SELECT 1") == "1"
        except Fail:
            return False

    def demand_standby(self):
        """From now on nothing is committed that the standby has not on its disk."""
        wait("the standby", lambda: self.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1")
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.sql("SELECT pg_reload_conf()")
        wait("synchronous replication",
             lambda: self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1")

    def promote(self):
        """Makes a standby a primary. A query there may be cancelled by what is still replayed, so that it is asked again."""
        said = ""

        def promoted() -> bool:
            nonlocal said
            try:
                if self.sql("SELECT pg_is_in_recovery()") == "f":
                    return True
                self.sql("SELECT pg_promote(false)")
            except Fail as problem:
                said = str(problem)
            return False

        try:
            wait("the promotion of the standby", promoted, 60)
        except Fail as problem:
            raise Fail(f"{problem}; PostgreSQL said last: {said or 'nothing'}") from None

    def kill(self):
        """Ends the server at once, with all of its processes."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        self.process.kill()
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


class Pair:
    """A primary and a synchronous standby; after a fail-over the standby is the primary, with a new standby. Or a primary
    alone."""

    def __init__(self, folder: Path, standby: bool = True):
        self.folder, self.made, self.standby = folder, 0, None
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        self.ports = [free_port() for _ in range(2 if standby else 1)]
        self.primary = self._server(self.ports[0])
        self.primary.make()
        try:
            self.primary.start()
            if standby:
                self._attach(self.ports[1])
        except BaseException:
            self.stop()
            raise

    def _server(self, port: int) -> Postgres:
        self.made += 1
        return Postgres(self.folder / f"data-{self.made}", port)

    def _attach(self, port: int):
        self.standby = self._server(port)
        self.standby.copy_of(self.primary)
        self.standby.start()
        self.primary.demand_standby()

    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgres://tester@{hosts}/postgres"

    def fail_over(self):
        self.primary.kill()
        self.standby.promote()
        self.primary, port = self.standby, self.primary.port
        self.standby = None
        return port

    def attach_again(self, port: int):
        self._attach(port)

    def stop(self):
        for server in (self.standby, self.primary):
            if server:
                server.stop()


class Bucket:
    """An object store over a directory."""

    def __init__(self, folder: Path):
        self.program, self.folder = install.go("versitygw"), folder
        self.port, self.log = free_port(), folder.parent / "versitygw.log"
        (folder / "objects" / "bucket").mkdir(parents=True)
        (folder / "attributes").mkdir()
        self.start()

    def start(self):
        log = self.log.open("a")
        environment = {**os.environ, "ROOT_ACCESS_KEY_ID": ACCESS, "ROOT_SECRET_ACCESS_KEY": SECRET}
        self.process = subprocess.Popen(
            [str(self.program), "--quiet", "--port", f"127.0.0.1:{self.port}", "posix", "--sidecar",
             str(self.folder / "attributes"), str(self.folder / "objects")],
            env=environment, stdout=log, stderr=log,
        )
        wait("the object store", lambda: listens(self.port))

    def url(self) -> str:
        return f"s3://bucket/logs?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.kill()
