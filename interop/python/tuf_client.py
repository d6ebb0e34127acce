"""Updates from a TUF repository with python-tuf's client and downloads the targets.

    tuf_client.py MIRROR ROOT_JSON FOLDER TARGET...

Prints one line per downloaded target. Ends with 1 when the client refuses anything.
"""

import shutil
import sys
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater


def main():
    mirror, root, folder, *targets = sys.argv[1:]
    metadata, downloads = Path(folder, "metadata"), Path(folder, "targets")
    shutil.rmtree(folder, ignore_errors=True)
    metadata.mkdir(parents=True)
    downloads.mkdir()
    try:
        updater = Updater(
            metadata_dir=str(metadata), metadata_base_url=mirror, target_base_url=f"{mirror}/targets/",
            target_dir=str(downloads), bootstrap=Path(root).read_bytes(),
        )
        updater.refresh()
        for name in targets:
            info = updater.get_targetinfo(name)
            if info is None:
                sys.exit(f"no target {name}")
            print(updater.download_target(info))
    except (DownloadError, RepositoryError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


main()
