"""A token server, as registries use one: it takes a name and a password and signs what may be done where.

The tokens are signed with a key made by openssl, under a certificate of its own, which docker-registry is given in a
file. In front of the other registry a proxy reads them (`gate`), with the same rules.
"""

import base64
import http.server
import json
import secrets
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

from .proxy import Answer, refusal

USER = "alice"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    SERVICE = "interop-registry"
    ISSUER = "interop-tokens"

    def __init__(self, folder: Path):
        self.password = secrets.token_urlsafe(18)
        self.key, self.certificate = folder / "tokens.key", folder / "tokens.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=interop-tokens",
             "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True,
        )
        der = subprocess.run(["openssl", "x509", "-in", self.certificate, "-outform", "DER"], check=True,
                             capture_output=True).stdout
        self.chain = [base64.b64encode(der).decode()]
        self.issued = {}
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self._grant(urllib.parse.urlsplit(self.path).query, self._basic())

            def do_POST(self):
                form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                fields = dict(urllib.parse.parse_qsl(form))
                self._grant(form, (fields.get("username"), fields.get("password")))

            def _basic(self):
                scheme, _, value = self.headers.get("Authorization", "").partition(" ")
                if scheme.lower() != "basic":
                    return (None, None)
                name, _, password = base64.b64decode(value).decode().partition(":")
                return (name, password)

            def _grant(self, query: str, who):
                if who != (USER, tokens.password):
                    self._send(401, {"details": "wrong name or password"})
                    return
                scopes = [scope for name, value in urllib.parse.parse_qsl(query) if name == "scope"
                          for scope in value.split()]
                token = tokens.sign(scopes)
                self._send(200, {"token": token, "access_token": token, "expires_in": 300})

            def _send(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # By name: clients refuse an address of this machine as the place to send a password to.
        self.realm = f"http://localhost:{self.server.server_address[1]}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sign(self, scopes: list) -> str:
        """A token for scopes as `repository:NAME:pull,push`."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": self.ISSUER, "sub": USER, "aud": self.SERVICE, "iat": now, "nbf": now - 5, "exp": now + 300,
                  "jti": secrets.token_hex(8), "access": access}
        header = {"typ": "JWT", "alg": "RS256", "x5c": self.chain}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(),
                                   check=True, capture_output=True).stdout
        token = f"{signed}.{_base64url(signature)}"
        self.issued[token] = access
        return token

    def gate(self, handler) -> Answer | None:
        """What a registry behind the proxy answers to a request without a token for it; None lets it pass."""
        path = urllib.parse.urlsplit(handler.path).path
        action = "pull" if handler.command in ("GET", "HEAD") else "push"
        name = None
        for part in ("/manifests/", "/blobs/", "/referrers/", "/tags/"):
            if part in path:
                name = path.removeprefix("/v2/").split(part)[0]
        scheme, _, token = handler.headers.get("Authorization", "").partition(" ")
        access = self.issued.get(token) if scheme == "Bearer" else None
        if access is not None:
            if name is None or any(one["name"] == name and action in one["actions"] for one in access):
                return None
        scope = "" if name is None else f',scope="repository:{name}:{"pull" if action == "pull" else "pull,push"}"'
        challenge = f'Bearer realm="{self.realm}",service="{self.SERVICE}"{scope}'
        return refusal(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", challenge)])

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
