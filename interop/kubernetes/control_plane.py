"""etcd, kube-apiserver and kube-controller-manager on loopback, without containers or root."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from driver.table import Fail

MANIFESTS = Path(__file__).resolve().parent.parent.parent / "deploy" / "kubernetes"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what: str, ready, seconds=60):
    """Asks again and again until there is an answer; gives it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ready()
        if answer:
            return answer
        time.sleep(0.1)
    raise Fail(f"{what}: not within {seconds} s")


class Processes:
    """What was started, and is ended by its own id, last first."""

    def __init__(self, folder: Path):
        self.folder, self.started = folder, []

    def start(self, name: str, command: list, environment=None):
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=subprocess.STDOUT,
                                   env={**os.environ, **(environment or {})})
        self.started.append((name, process))
        return process

    def stop(self, process):
        process.terminate()
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(timeout=10)

    def stop_all(self):
        for _, process in reversed(self.started):
            if process.poll() is None:
                self.stop(process)


class ControlPlane:
    """etcd, an API server and the controllers that make pods."""

    def __init__(self, programs: Path, folder: Path, processes: Processes):
        self.programs, self.folder, self.processes = programs, folder, processes
        folder.mkdir()
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._certificates()
        self._start()
        self.kubeconfig = self.write_kubeconfig("admin", "admin-token")
        wait_for("kube-apiserver", lambda: self.kubectl("get", "--raw", "/readyz").returncode == 0)
        processes.start("kube-controller-manager", [
            programs / "kube-controller-manager", f"--kubeconfig={self.kubeconfig}",
            f"--authentication-kubeconfig={self.kubeconfig}", f"--authorization-kubeconfig={self.kubeconfig}",
            "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={free_port()}",
            f"--service-account-private-key-file={folder}/sa.key", f"--root-ca-file={folder}/ca.crt",
            "--use-service-account-credentials=false",
            "--controllers=deployment,replicaset,statefulset,daemonset,job,cronjob,garbagecollector,namespace,"
            "serviceaccount"])

    def _openssl(self, *arguments):
        # Certificates of yesterday, where that can be had: some rows run with a clock that is behind.
        yesterday = [faketime, "-f", "-1d"] if (faketime := shutil.which("faketime")) else []
        done = subprocess.run([*yesterday, "openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Fail(f"openssl {' '.join(arguments)}: {done.stderr}")

    def _certificates(self):
        for name in ["ca", "apiserver", "sa"]:
            self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        self._openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "30", "-subj", "/CN=control-plane", "-out",
                      "ca.crt", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
                      "keyUsage=critical,keyCertSign,cRLSign")
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n")
        self._openssl("req", "-new", "-key", "apiserver.key", "-subj", "/CN=kube-apiserver", "-out", "apiserver.csr")
        self._openssl("x509", "-req", "-in", "apiserver.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "30", "-extfile", "names", "-out", "apiserver.crt")
        self._openssl("ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        (self.folder / "tokens.csv").write_text('admin-token,admin,uid-admin,"system:masters"\n')

    def _start(self):
        folder, (client, peer) = self.folder, (free_port(), free_port())
        data = folder / "etcd"
        data.mkdir(mode=0o700)
        self.processes.start("etcd", [
            shutil.which("etcd"), "--name", "e", "--data-dir", data, "--unsafe-no-fsync", "--log-level", "warn",
            "--listen-client-urls", f"http://127.0.0.1:{client}",
            "--advertise-client-urls", f"http://127.0.0.1:{client}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"e=http://127.0.0.1:{peer}"])
        self.processes.start("kube-apiserver", [
            self.programs / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self.port}", f"--cert-dir={folder}",
            f"--tls-cert-file={folder}/apiserver.crt", f"--tls-private-key-file={folder}/apiserver.key",
            f"--client-ca-file={folder}/ca.crt", f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC", "--anonymous-auth=false", f"--service-account-issuer={self.url}",
            f"--service-account-key-file={folder}/sa.pub", f"--service-account-signing-key-file={folder}/sa.key",
            "--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true",
            "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
            "--enable-priority-and-fairness=false", "--v=1"])

    def write_kubeconfig(self, user: str, token: str) -> Path:
        path = self.folder / f"{user}.kubeconfig"
        authority = base64.b64encode((self.folder / "ca.crt").read_bytes()).decode()
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
        path.chmod(0o600)
        return path

    def kubectl(self, *arguments, given=None):
        config = getattr(self, "kubeconfig", self.folder / "admin.kubeconfig")
        command = [str(self.programs / "kubectl"), f"--kubeconfig={config}", *map(str, arguments)]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)

    def done(self, *arguments, given=None) -> str:
        done = self.kubectl(*arguments, given=given)
        if done.returncode != 0:
            raise Fail(f"kubectl {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def apply(self, document: dict, *arguments):
        return self.kubectl("apply", *arguments, "-f", "-", given=json.dumps(document))
