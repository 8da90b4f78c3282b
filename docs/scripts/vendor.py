"""Fetches the files of other projects that come with this one, from their npm packages, and checks them.

    python docs/scripts/vendor.py            needs npm; writes the files that are missing or differ
    python docs/scripts/vendor.py --check    needs no network; says which files are not those that are listed

Each folder of such files has a `vendored.json`: package, version, licence, and for each file its place in the package
and its SHA-256. To take a newer version, change the version there, run this with `--renew`, and look at what changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = (ROOT / "rrm_plugin" / "viewer" / "static" / "vendor", ROOT / "tests" / "viewer" / "vendor")


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def packed(package: str, version: str) -> dict[str, bytes]:
    """The files of an npm package by their place in it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if member.isfile()]
            return {member.name.partition("/")[2]: tar.extractfile(member).read() for member in members}  # type: ignore


def wrong(folder: Path) -> list[str]:
    """The listed files that are missing or are others."""
    told: list[dict[str, Any]] = json.loads((folder / "vendored.json").read_text(encoding="utf-8"))
    found = []
    for package in told:
        for name, listed in package["files"].items():
            path = folder / name
            if not path.is_file() or digest(path.read_bytes()) != listed["sha256"]:
                found.append(str(path.relative_to(ROOT)))
    return found


def fetch(folder: Path, renew: bool) -> None:
    """Writes the files of a folder's list, and with `renew` their checksums.

    Raises:
        SystemExit: a file is not the one that is listed.
    """
    listing = folder / "vendored.json"
    told = json.loads(listing.read_text(encoding="utf-8"))
    for package in told:
        files = packed(package["package"], package["version"])
        for name, listed in package["files"].items():
            data = files[listed["from"]]
            if renew:
                listed["sha256"] = digest(data)
            elif digest(data) != listed["sha256"]:
                sys.exit(f"{package['package']} {package['version']} has another {listed['from']} than is listed")
            (folder / name).write_bytes(data)
    if renew:
        listing.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--renew", action="store_true", help="take the checksums from what is fetched")
    chosen = parser.parse_args()
    for folder in FOLDERS:
        if not chosen.check and (chosen.renew or wrong(folder)):
            fetch(folder, chosen.renew)
    missing = [name for folder in FOLDERS for name in wrong(folder)]
    if missing:
        sys.exit(f"not the files that are listed: {', '.join(missing)}")


if __name__ == "__main__":
    main()
