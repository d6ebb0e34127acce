#!/usr/bin/env python3
"""Reads a TUF repository with python-tuf's client, as sigstore-python does.

usage: check_with_python_tuf.py METADATA_URL ROOT_FILE [TARGET...]

Starts from ROOT_FILE, refreshes, downloads each target (all of the top level when none is named) and checks that
every key id is the hash that python-tuf computes. Prints one line per file; exit code 0 only if all verified.
Needs the PyPI packages `tuf` (7.x) and `securesystemslib[crypto]`.
"""

import hashlib
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 1
    url, root_file, names = sys.argv[1].rstrip("/"), Path(sys.argv[2]), sys.argv[3:]

    root = Metadata.from_bytes(root_file.read_bytes())
    for keyid, key in root.signed.keys.items():
        computed = hashlib.sha256(encode_canonical(key.to_dict()).encode()).hexdigest()
        if computed != keyid:
            print(f"FAIL key id {keyid}: python-tuf computes {computed}")
            return 2

    with tempfile.TemporaryDirectory() as cache:
        updater = Updater(
            metadata_dir=cache,
            metadata_base_url=url + "/",
            target_dir=cache,
            target_base_url=url + "/targets/",
            bootstrap=root_file.read_bytes(),
        )
        updater.refresh()
        trusted = updater._trusted_set
        for role in ("root", "timestamp", "snapshot", "targets"):
            signed = trusted[role]
            print(f"ok   {role} version {signed.version}, until {signed.expires:%Y-%m-%d}")
        for name in names or sorted(trusted.targets.targets):
            info = updater.get_targetinfo(name)
            if info is None:
                print(f"FAIL {name}: no such target")
                return 2
            path = updater.download_target(info, str(Path(cache) / ("target-" + quote(name, ""))))
            print(f"ok   {name}, {Path(path).stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
