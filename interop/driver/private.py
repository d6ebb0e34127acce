"""A private repository: docker-registry with its own token authentication, and the other one behind a proxy which wants
the same tokens. The credentials are in Docker's config.json, where `countersign login` puts them."""

import base64
import json
import os
import subprocess
import tarfile

from .clients import Refused
from .proxy import Proxy
from .registries import docker_registry
from .table import Fail, Table
from .tokens import USER, Tokens


class Private:
    def __init__(self, name: str, host: str, tokens: Tokens):
        self.name, self.host, self.tokens = name, host, tokens

    def docker_config(self, folder, password: str):
        folder.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return {"DOCKER_CONFIG": str(folder)}


def push(cast, private: Private, name: str, environment) -> str:
    """An image, pushed with crane, which brings credentials of its own. Returns its name by digest."""
    layer = cast.folder / "layer.tar"
    with tarfile.open(layer, "w") as archive:
        archive.add(cast.predicate, arcname="predicate.json")
    answer = cast.crane("append", "--oci-empty-base", "-f", layer, "-t", f"{private.host}/{name}:v1", **environment)
    return answer.strip().splitlines()[-1]


def rows_of(table: Table, cast, private: Private):
    folder = cast.folder / private.name
    good = private.docker_config(folder / "good", private.tokens.password)
    bad = private.docker_config(folder / "bad", "a wrong password")
    none = {"DOCKER_CONFIG": str(folder)}

    def exchange(signer, verifier):
        name = f"acme/private-{signer.name}-{verifier.name}".replace(" ", "")
        reference = push(cast, private, name, good)
        trust = cast.key_for(signer)
        signer.sign(reference, trust, "bundle", **good)
        verifier.verify(reference, trust, "bundle", **good)
        return reference, trust

    def without(environment, reference, trust):
        try:
            cast.ours.verify(reference, trust, "bundle", **environment)
        except Refused as refusal:
            if refusal.code != 6 or "no signature" in str(refusal).lower():
                raise Fail(f"expected exit code 6 and no word of a missing signature\n{refusal}") from None
            if private.tokens.password in str(refusal):
                raise Fail("the password is in the message") from None
            return
        raise Fail("verified an image that it may not read")

    def both(signer, verifier):
        reference, trust = exchange(signer, verifier)
        without(none, reference, trust)
        without(bad, reference, trust)
        return "signed, verified; without credentials and with wrong ones exit code 6"

    def login():
        home = folder / "login"
        home.mkdir()
        environment = {**cast.ours.environment, "DOCKER_CONFIG": str(home)}
        done = subprocess.run([str(cast.ours.binary), "login", "-u", USER, "--password-stdin", private.host],
                              input=private.tokens.password, env={**os.environ, **environment}, capture_output=True,
                              text=True, timeout=60)
        if done.returncode != 0 or private.tokens.password in done.stdout + done.stderr:
            raise Fail(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
        reference = push(cast, private, "acme/after-login", environment)
        trust = cast.key_for(cast.ours)
        cast.ours.sign(reference, trust, "bundle", DOCKER_CONFIG=str(home))
        cast.ours.verify(reference, trust, "bundle", DOCKER_CONFIG=str(home))
        return "crane, sign and verify read what login wrote"

    table.row("countersign", "login, then sign and verify", private.name, login)
    pairs = [(cast.ours, cast.ours)]
    if cast.cosign3 is not None:
        pairs += [(cast.ours, cast.cosign3), (cast.cosign3, cast.ours)]
    for signer, verifier in pairs:
        client = verifier.name if signer is cast.ours else signer.name
        table.row(client, f"{signer.name} signs, {verifier.name} verifies", private.name,
                  lambda signer=signer, verifier=verifier: both(signer, verifier))


def elsewhere(cast, private: Private) -> str:
    """The registry names a token server on another host. Whoever pushes there with crane trusts it; Countersign does
    not send it the login, and says why it cannot look."""
    config = private.docker_config(cast.folder / private.name, private.tokens.password)
    reference = push(cast, private, "acme/elsewhere", config)
    private.tokens.tried.clear()
    try:
        cast.ours.verify(reference, cast.key_for(cast.ours), "bundle", **config)
    except Refused as refusal:
        if private.tokens.tried:
            raise Fail("the login went to the token server of another host") from None
        if refusal.code != 6 or "token server" not in str(refusal):
            raise Fail(f"expected exit code 6 and a word about the token server\n{refusal}") from None
        return "no login sent there; exit code 6"
    raise Fail("verified an image that it may not read")


def rows(table: Table, cast, found, registries: list):
    tokens = Tokens(cast.folder)
    opened = []

    def opening(one):
        opened.append(one)
        return one

    try:
        for registry in registries:
            name = f"{registry.name}, private"
            if registry.name != "docker-registry":
                rows_of(table, cast, Private(name, opening(Proxy(registry.host, tokens.gate)).host, tokens))
                continue
            front = opening(Proxy("", tokens.realm))
            inner = opening(docker_registry(found[registry.name], cast.folder, "docker-registry-private", tokens,
                                            f"http://{front.host}/token"))
            front.upstream = inner.host
            rows_of(table, cast, Private(name, front.host, tokens))
            # By name, since crane takes no address of this machine as a token server.
            away = front.host.replace("127.0.0.1", "localhost")
            other = opening(docker_registry(found[registry.name], cast.folder, "docker-registry-elsewhere", tokens,
                                            f"http://{away}/token"))
            table.row("countersign", "verifies, the token server elsewhere", name,
                      lambda: elsewhere(cast, Private("elsewhere", other.host, tokens)))
    finally:
        for one in opened:
            one.stop()
