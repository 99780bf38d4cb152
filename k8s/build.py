"""Build the images with podman or docker: `python -m k8s images [name…]`.

Reads `k8s/images/Dockerfile`, which has a target for each image, and the stages' code; `models` reads the model
repository and the `training-*` ones the data set.
BUILDER overrides the builder, e.g. `BUILDER="buildah bud"`; TORCH_INDEX_URL says where torch comes from.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from contract import ARTIFACTS, DATA, FRAMEWORKS, MODEL, MODEL_REPOSITORY, ROOT, TWINS, StageError, shown
from serving.repository import read_artifacts
from serving.server import list_servers

IMAGES = ROOT / "k8s" / "images"
DOCKERFILE = IMAGES / "Dockerfile"
LOGS = ARTIFACTS / "logs"


def list_images() -> list[str]:
    """The names of all images: the servers', the load generator's, the models' and the training's."""
    return sorted([*list_servers(), "loadtest", "models", *(f"training-{name}" for name in FRAMEWORKS)])


def reference(name: str) -> str:
    """`localhost/serving-comparison-<name>:<version of the project>`."""
    return f"localhost/serving-comparison-{name}:{version()}"


def version() -> str:
    """The project's version, which is every image's tag."""
    project: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return project


def build_images(names: list[str], builder: tuple[str, ...]) -> list[tuple[str, float]]:
    """Build `names`, a bar over them; returns each image's reference and the seconds it took.

    Where none is named: all, but the twins' training only where the model is the twins.
    """
    chosen = names or [name for name in list_images() if MODEL == TWINS or not name.startswith("training-")]
    if unknown := set(chosen) - set(list_images()):
        raise StageError(f"no image {', '.join(sorted(unknown))}: choose from {', '.join(list_images())}")
    if "models" in chosen:
        for name, manifest in read_artifacts().items():
            manifest.check_files(MODEL_REPOSITORY / name, "make export")
    if any(name.startswith("training-") for name in chosen) and not DATA.is_dir():
        raise StageError(f"no {shown(DATA)} for the training images: run `make data`")
    built = []
    with tqdm(chosen, desc="build", unit="image", file=sys.stderr) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            started_s = time.monotonic()
            _build(name, builder)
            built.append((reference(name), time.monotonic() - started_s))
    return built


def find_builder(wanted: str | None = None) -> tuple[str, ...]:
    """`wanted`, or podman, or docker: the command that builds an image when given `-t NAME -f FILE DIR`."""
    if wanted:
        return tuple(shlex.split(wanted))
    for program in ("podman", "docker"):
        if shutil.which(program):
            return (program, "build", *(("--format", "docker") if program == "podman" else ()))  # OCI drops HEALTHCHECK
    raise StageError("no `podman` or `docker` on PATH: install one, or set BUILDER to the command that builds an image")


def commit() -> str:
    """The git commit that the code is at, `unknown` outside of a checkout."""
    done = subprocess.run(("git", "rev-parse", "HEAD"), cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _build(name: str, builder: tuple[str, ...]) -> None:
    log = LOGS / f"image-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with _context(name) as folder, log.open("wb") as output:
        argv = (*builder, *_arguments(name), "-t", reference(name), "-f", str(DOCKERFILE), str(folder))
        done = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise StageError(f"building {name} failed, the end of {shown(log)}:\n{_tail(log)}")


def _arguments(name: str) -> list[str]:
    """The target, what its packages are and where torch comes from, and the labels of an image."""
    extra = name.removeprefix("training-")
    arguments = {"EXTRA": extra, "TORCH_INDEX_URL": os.environ.get("TORCH_INDEX_URL", "")}
    labels = {
        "title": f"serving-comparison {name}",
        "version": version(),
        "revision": commit(),
        "licenses": "Apache-2.0",
    }
    return [
        f"--target={name}",
        *(f"--build-arg={key}={value}" for key, value in arguments.items() if name != "models"),
        *(f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()),
    ]


@contextmanager
def _context(name: str) -> Iterator[Path]:
    """The folder that is sent to the builder: the checkout, for `models` a folder of what it copies."""
    if name != "models":
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        yield models_context(MODEL_REPOSITORY, Path(folder))


def models_context(repository: Path, folder: Path) -> Path:
    """Make `folder` the build context of the image `models`: the model repository and what delivers it."""
    shutil.copytree(repository, folder / "model_repository")
    shutil.copy(IMAGES / "models" / "deliver.py", folder)
    return folder


def _tail(log: Path, count: int = 15) -> str:
    return "\n".join(f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-count:])
