"""Turn the trained models into checked artifacts: every valid pair of framework and format, skipping what is fresh.

Reads `artifacts/models/`; writes `artifacts/model_repository/<artifact>/` and `samples.npz`. Each conversion has a
process of its own. Exit code: 0 all there (an artifact that lacks an extra is named), 1 one failed, 2 a mistake.

    python -m export [artifact…]
    python -m export list
    python -m export adopt my_model.onnx --name my-onnx --samples samples.npz
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

from contract import MODEL_REPOSITORY, MODELS, ROOT, Manifest, StageError, shown
from export.convert import is_fresh
from export.format import find_format, list_artifacts
from export.samples import write_samples


@dataclass(frozen=True)
class Row:
    """One line of the table: what came of an artifact."""

    artifact: str
    state: str
    """`made`, `fresh`, `needs …` or `failed …`."""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the command has to say so in its exit code."""
        return self.state.startswith("failed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if given[:1] == ["adopt"]:
            from export.import_model import main as adopt

            return adopt(given[1:])
        return export(parse(given))
    except StageError as error:
        print(error, file=sys.stderr)
        return 2


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line of the export itself."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__, formatter_class=raw)
    parser.add_argument("artifacts", nargs="*", help=f"list, or some of: {', '.join(list_artifacts())}; default: all")
    parser.add_argument("--models", type=Path, default=MODELS, help="default: %(default)s")
    parser.add_argument("--repository", type=Path, default=MODEL_REPOSITORY, help="default: %(default)s")
    return parser.parse_args(argv)


def export(given: argparse.Namespace) -> int:
    """Make or list the artifacts and print the table."""
    listing = given.artifacts == ["list"]
    chosen = list_artifacts() if listing or not given.artifacts else given.artifacts
    if unknown := sorted(set(chosen) - set(list_artifacts())):
        raise StageError(f"no artifact {', '.join(unknown)}: choose from {', '.join(list_artifacts())}")
    if listing:
        rows = [Row(name, state_of(name, given.models, given.repository)) for name in chosen]
    else:
        for framework in dict.fromkeys(name.split("-", 1)[0] for name in chosen):
            Manifest.read(given.models / framework, f"make train-{framework}")
        with tqdm(chosen, desc="export", unit="artifact", leave=False) as bar:
            rows = [make(name, given.models, given.repository, bar) for name in bar]
        write_samples(given.models, given.repository)
    print(table(rows, given.repository))
    return int(any(row.failed for row in rows))


def state_of(artifact: str, models: Path, repository: Path) -> str:
    """Say what `make export` would do."""
    there = (models / artifact.split("-", 1)[0] / "manifest.json").is_file()
    if there and is_fresh(artifact, models, repository):
        return "fresh"
    return not_exported(artifact) or "to be made"


def not_exported(artifact: str) -> str | None:
    """Why this machine can't make an artifact and what would bring it, or None where it can."""
    framework, format_name = artifact.split("-", 1)
    format_ = find_format(format_name)
    extra = format_.missing_extra(framework)
    return f"needs the extra {extra}: {format_.remedies.get(framework, '')}" if extra else None


def make(artifact: str, models: Path, repository: Path, bar: tqdm[str]) -> Row:
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
        figures = f"{'':>29}{'':>9}"
        if (repository / row.artifact / "manifest.json").is_file() and not row.failed:
            m = Manifest.read(repository / row.artifact, "make export")
            parity = m.parity
            figures = (
                f"{m.size_bytes / 1e6:>7.1f} MB{m.test_accuracy or 0:>10.2%}"
                f"{parity['max_abs_diff']:>10.1e}{m.batching.verdict:>9}"
            )
        lines.append(f"{row.artifact:<22}{figures:<39}{row.seconds:>9.1f}  {row.state}")
    return "\n".join([*lines, f"in {shown(repository)}"])


if __name__ == "__main__":
    sys.exit(main())
