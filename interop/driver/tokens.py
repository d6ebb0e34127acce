"""A token server, as registries use one: it takes a name and a password and signs what may be done where.

The tokens are signed with a key made by openssl, under a certificate of its own, which docker-registry is given in a
file. In front of the other registry a proxy reads them (`gate`), with the same rules. It has no address of its own: a
proxy answers for it, at the registry's own or elsewhere.
"""

import base64
import json
import secrets
import subprocess
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
        # Who was given what, and each name and password that was tried.
        self.issued, self.tried = {}, []

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

    def grant(self, handler) -> Answer:
        """Answers at the realm: GET with basic authentication, or POST with a form."""
        query, body = urllib.parse.urlsplit(handler.path).query, handler.received.decode()
        fields = dict(urllib.parse.parse_qsl(body))
        who = (fields.get("username"), fields.get("password"))
        scheme, _, value = handler.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            name, _, password = base64.b64decode(value).decode().partition(":")
            who = (name, password)
        if any(who):
            self.tried.append(who)
        if who != (USER, self.password):
            return refusal(401, "UNAUTHORIZED", "wrong name or password")
        scopes = [scope for name, value in urllib.parse.parse_qsl(query or body) if name == "scope"
                  for scope in value.split()]
        token = self.sign(scopes)
        granted = json.dumps({"token": token, "access_token": token, "expires_in": 300}).encode()
        return Answer(200, [("Content-Type", "application/json")], granted)

    def realm(self, handler) -> Answer | None:
        """In front of a registry which reads tokens by itself: only the realm is answered here."""
        return self.grant(handler) if urllib.parse.urlsplit(handler.path).path == "/token" else None

    def gate(self, handler) -> Answer | None:
        """In front of a registry which reads none: what it answers to a request without a token for it. None lets it
        pass."""
        path = urllib.parse.urlsplit(handler.path).path
        if path == "/token":
            return self.grant(handler)
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
        challenge = f'Bearer realm="http://{handler.headers["Host"]}/token",service="{self.SERVICE}"{scope}'
        return refusal(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", challenge)])
