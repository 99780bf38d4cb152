"""Build the images, one Dockerfile each, with podman or docker: `python -m k8s images [name…]`.

Reads `k8s/images/<name>/Dockerfile` and the stages' code; `models` reads `artifacts/model_repository` and the
`training-*` ones `artifacts/data`.
BUILDER overrides the builder, e.g. `BUILDER="buildah bud"`; TORCH_INDEX_URL says where torch comes from.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from tqdm import tqdm

from contract import DATA, MODEL_REPOSITORY, ROOT, StageError, shown
from serving.repository import read_artifacts

IMAGES = ROOT / "k8s" / "images"
LOGS = ROOT / "artifacts" / "logs"
LABELS = "org.opencontainers.image"


def list_images() -> list[str]:
    """The names of all images: the folders of `k8s/images/`."""
    return sorted(path.parent.name for path in IMAGES.glob("*/Dockerfile"))


def reference(name: str) -> str:
    """`localhost/serving-comparison-<name>:<version of the project>`."""
    return f"localhost/serving-comparison-{name}:{version()}"


def version() -> str:
    """The project's version, which is every image's tag."""
    project: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return project


def build_images(names: list[str], builder: tuple[str, ...]) -> list[tuple[str, float]]:
    """Build `names` (all where empty), a bar over them; returns each image's reference and the seconds it took."""
    chosen = names or list_images()
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
    dockerfile = IMAGES / name / "Dockerfile"
    given = {"VERSION": version(), "COMMIT": commit(), "TORCH_INDEX_URL": os.environ.get("TORCH_INDEX_URL", "")}
    wanted = [f"--build-arg={key}={value}" for key, value in given.items() if f"ARG {key}=" in dockerfile.read_text()]
    # Said again: podman 4 takes the Dockerfile's LABEL from its cache, with the argument's value of an earlier build.
    labels = [f"--label={LABELS}.version={version()}", f"--label={LABELS}.revision={commit()}"]
    argv = (*builder, *wanted, *labels, "-t", reference(name), "-f", str(dockerfile), str(ROOT))
    log = LOGS / f"image-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise StageError(f"building {name} failed, the end of {log.relative_to(ROOT)}:\n{_tail(log)}")


def _tail(log: Path, count: int = 15) -> str:
    return "\n".join(f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-count:])
