"""Copy artifacts of a model repository into a volume and check every file: `deliver.py SOURCE TARGET [format…]`.

Reads `<SOURCE>/<artifact>/manifest.json`, writes `<TARGET>/<artifact>/…`, the manifest last, and `samples.npz`. A file
that is missing, not listed or of another sha256 ends it with status 1 before any server starts. Standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path


def deliver(source: Path, target: Path, formats: list[str]) -> list[str]:
    """Copy the artifacts of `formats` (all where empty); returns what went wrong, a line each."""
    problems, delivered = [], 0
    for path in sorted(source.glob("*/manifest.json")):
        manifest = json.loads(path.read_text())
        if formats and manifest["format"] not in formats:
            continue
        wrong = copy_checked(path.parent, target / path.parent.name, manifest["sha256"])
        problems += wrong
        if not wrong:
            shutil.copyfile(path, target / path.parent.name / path.name)
            print(f"{path.parent.name}: {len(manifest['sha256'])} files, sha256 as in the manifest")
            delivered += 1
    if not problems and not delivered:
        problems.append(f"{source} holds no artifact of {' or '.join(formats) or 'any format'}")
    return problems


def copy_checked(source: Path, target: Path, sha256: dict[str, str]) -> list[str]:
    """Copy the files that a manifest lists; those that differ from it are named in what is returned."""
    present = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file() and p.name != "manifest.json"}
    problems = [f"{source.name}/{name}: the manifest does not list it" for name in sorted(present - sha256.keys())]
    for name, expected in sha256.items():
        if name not in present:
            problems.append(f"{source.name}/{name}: missing, though the manifest lists it")
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
        with (target / name).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            problems.append(f"{source.name}/{name}: sha256 {actual[:12]}…, the manifest says {expected[:12]}…")
    return problems


def main(argv: list[str]) -> int:
    """Deliver, print what went wrong on stderr, 1 where anything did."""
    source, target, formats = Path(argv[0]), Path(argv[1]), argv[2:]
    problems = deliver(source, target, formats)
    if (source / "samples.npz").is_file():  # servers warm up with them, the load generator sends them
        shutil.copyfile(source / "samples.npz", target / "samples.npz")
    elif not formats:
        problems.append(f"{source} has no samples.npz for the load generator")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
