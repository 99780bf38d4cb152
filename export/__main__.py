"""Turn trained models into checked artifacts, or take in a model file.

Reads `artifacts/mnist/models/` and writes the workspace's `model_repository/<artifact>/` and `samples.npz`, skipping
what is fresh; each conversion has a process of its own. For another model (MODEL=lgbm) it lists what was taken in. Exit
code: 0 all there (an artifact that lacks an extra is named), 1 one failed, 2 a mistake.

    python -m export [artifact…]
    python -m export list
    python -m export import my_model.onnx --name my-model --samples samples.npz
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from contract import EXPORT_FIRST, MODEL, MODEL_REPOSITORY, MODELS, ROOT, TWINS, Manifest, StageError, shown
from export.convert import is_fresh
from export.format import find_format, list_artifacts
from export.samples import check_own, write_samples


@dataclass(frozen=True)
class Row:
    """One line of the table: what came of an artifact."""

    artifact: str
    state: str
    """`made`, `fresh`, `imported`, `needs …` or `failed …`."""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the command has to say so in its exit code."""
        return self.state.startswith("failed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] in (["import"], ["adopt"]):
            from export.import_model import main as import_main

            return import_main(words)
        options = parse(words)
        return export(options) if MODEL == TWINS else list_imported(options.repository)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"{error.filename2 or error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line of the export itself."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__, formatter_class=raw)
    parser.add_argument("artifacts", nargs="*", help=f"list, or some of: {', '.join(list_artifacts())}; default: all")
    parser.add_argument("--models", type=Path, default=MODELS, help="default: %(default)s")
    parser.add_argument("--repository", type=Path, default=MODEL_REPOSITORY, help="default: %(default)s")
    return parser.parse_args(argv)


def export(options: argparse.Namespace) -> int:
    """Make or list the artifacts and print the table."""
    listing = options.artifacts == ["list"]
    chosen = list_artifacts() if listing or not options.artifacts else options.artifacts
    if unknown := sorted(set(chosen) - set(list_artifacts())):
        raise StageError(f"no artifact {', '.join(unknown)}: choose from {', '.join(list_artifacts())}")
    if listing:
        rows = [Row(name, state_of(name, options.models, options.repository)) for name in chosen]
    else:
        for framework in dict.fromkeys(name.split("-", 1)[0] for name in chosen):
            Manifest.read(options.models / framework, f"make train-{framework}")
        check_own(options.repository)
        with tqdm(chosen, desc="export", unit="artifact", leave=False) as bar:
            rows = [make_row(name, options.models, options.repository, bar) for name in bar]
        write_samples(options.models, options.repository)
    print(table(rows, options.repository))
    return int(any(row.failed for row in rows))


def list_imported(repository: Path) -> int:
    """Print the artifacts that were taken in; there is nothing to make."""
    names = sorted(path.parent.name for path in repository.glob("*/manifest.json"))
    if not names:
        raise StageError(f"no artifact in {shown(repository)}: {EXPORT_FIRST}")
    print(table([Row(name, "imported") for name in names], repository))
    return 0


def state_of(artifact: str, models: Path, repository: Path) -> str:
    """Say what `make export` would do."""
    trained = (models / artifact.split("-", 1)[0] / "manifest.json").is_file()
    if trained and is_fresh(artifact, models, repository):
        return "fresh"
    return not_exported(artifact) or "to be made"


def not_exported(artifact: str) -> str | None:
    """Why this machine can't make an artifact and what would bring it, or None where it can."""
    framework, format_name = artifact.split("-", 1)
    format_ = find_format(format_name)
    extra = format_.missing_extra(framework)
    return f"needs the extra {extra}: {format_.remedies.get(framework, '')}" if extra else None


def make_row(artifact: str, models: Path, repository: Path, bar: tqdm[str]) -> Row:
    """Make one artifact in a process of its own unless it is fresh."""
    if is_fresh(artifact, models, repository):
        return Row(artifact, "fresh")
    if reason := not_exported(artifact):
        return Row(artifact, reason)
    bar.set_postfix_str(artifact)
    started = time.perf_counter()
    command = [sys.executable, "-m", "export.convert", artifact, str(models.resolve()), str(repository.resolve())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode == 0:
        return Row(artifact, "made", seconds)
    bar.write(done.stderr, file=sys.stderr)
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return Row(artifact, f"failed: {lines[-1] if lines else f'exit code {done.returncode}'}", seconds)


def table(rows: list[Row], repository: Path) -> str:
    """The table that the command prints."""
    lines = [f"{'artifact':<22}{'size':>10}{'accuracy':>10}{'max diff':>10}{'batching':>9}{'seconds':>9}  state"]
    for row in rows:
        figures = ""
        if (repository / row.artifact / "manifest.json").is_file() and not row.failed:
            m = Manifest.read(repository / row.artifact, "make export")
            accuracy = "" if m.test_accuracy is None else f"{m.test_accuracy:.2%}"
            figures = f"{m.size_bytes / 1e6:>7.1f} MB{accuracy:>10}"
            figures += f"{m.parity.get('max_abs_diff', 0):>10.1e}{m.batching.verdict:>9}"
        lines.append(f"{row.artifact:<22}{figures:<39}{row.seconds:>9.1f}  {row.state}")
    return "\n".join([*lines, f"in {shown(repository)}"])


if __name__ == "__main__":
    sys.exit(main())
