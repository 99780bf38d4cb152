"""Take in a model that a user brings: a file of some format and a `samples.npz` with the answers to expect of it.

The samples have `inputs/<tensor>` and `expected/<tensor>`, the samples in the first dimension, and `labels` if known.
Writes the workspace `artifacts/<name>/` as the export does, once the model reproduces the answers; several files of one
model go into one workspace. Nothing outside of that workspace is touched.

    python -m export import my_model.onnx --name my-model --samples samples.npz
    make compare MODEL=my-model
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract import (
    NAME,
    TWINS,
    Batching,
    Manifest,
    StageError,
    Tensors,
    files_below,
    shown,
    size_below,
    workspace_of,
)
from export.batching import prove_batching
from export.convert import VERSION, GateError
from export.format import LoadedModel, find_format
from export.model_files import format_of, place, replace_folder
from export.parity import BATCH_SIZES, Parity, check_names, compare, first_line, tolerances_of
from export.samples import add_samples, others_with, take
from export.user_samples import UserSamples, fit, read_user_samples

TOLERANCE = 1e-4
"""As servers are held to; the answers may come from another machine."""
RESERVED = (TWINS, "data", "bench", "k8s", "coverage")
"""Folders of `artifacts/` that are no user's workspace."""


@dataclass(frozen=True)
class ImportRequest:
    """What the command line asks for."""

    model: Path
    artifact: str
    samples: Path
    framework: str
    repository: Path
    tolerance: float = TOLERANCE
    signature: str | None = None
    declare_batching: bool = False


def main(words: list[str]) -> int:
    """Run `import`, or `adopt` as older releases called it; return the exit code."""
    request = parse_adopt(words[1:]) if words[0] == "adopt" else parse_import(words[1:])
    try:
        manifest = import_model(request)
    except GateError as error:
        print(f"{shown(request.model)} was not taken in: {error}", file=sys.stderr)
        return 1
    print(
        f"{manifest.name}: {manifest.format}, {manifest.size_bytes:,} bytes, largest difference "
        f"{manifest.parity['max_abs_diff']:.1e} on {manifest.parity['samples']:,} samples, in "
        f"{shown(request.repository)}\nbatching {manifest.batching.verdict}: {manifest.batching.reason}"
    )
    return 0


def parse_import(words: list[str]) -> ImportRequest:
    """Read the command line of `import`."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m export import", description=__doc__, formatter_class=raw)
    add_options(parser)
    parser.add_argument("--name", required=True, help="of the model and its workspace, e.g. my-model")
    parser.add_argument("--artifact", help="default: <framework>-<format>, e.g. custom-onnx")
    options = parser.parse_args(words)
    check_name("--name", options.name)
    if options.name in RESERVED:
        raise StageError(f"--name {options.name!r} is taken by this project: choose another")
    artifact = options.artifact or f"{options.framework}-{format_of(options.model)}"
    check_name("--artifact", artifact)
    return request_of(options, artifact, workspace_of(options.name) / "model_repository")


def parse_adopt(words: list[str]) -> ImportRequest:
    """Read the command line of `adopt`, which named the artifact and might name a repository."""
    parser = argparse.ArgumentParser(prog="python -m export adopt")
    add_options(parser)
    parser.add_argument("--name", required=True)
    parser.add_argument("--repository", type=Path)
    options = parser.parse_args(words)
    check_name("--name", options.name)
    if options.repository is None and options.name in RESERVED:
        raise StageError(f"--name {options.name!r} is taken by this project: choose another")
    print(
        f"`export adopt` is now `python -m export import … --name {options.name}`, and this name goes with the next "
        f"release; commands about the model take MODEL={options.name}",
        file=sys.stderr,
    )
    return request_of(options, options.name, options.repository or workspace_of(options.name) / "model_repository")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what both commands take."""
    parser.add_argument("model", type=Path, help=".onnx, .tflite, TorchScript (.pt, .pth, .jit) or a SavedModel folder")
    parser.add_argument("--samples", type=Path, required=True, help=".npz: inputs/<tensor>, expected/<tensor>, labels")
    parser.add_argument("--framework", default="custom", help="who trained it, for the record; default: %(default)s")
    parser.add_argument("--signature", help="of a TFLite file with several; default: serving_default")
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=TOLERANCE,
        help="of numbers: absolute, plus the same share of an output's largest; default: %(default)g",
    )
    parser.add_argument(
        "--declare-batching",
        action="store_true",
        help="say that rows are independent where the samples can't show it: servers join requests on your word",
    )


def tolerance(text: str) -> float:
    """A tolerance; raises ArgumentTypeError for what would let every answer pass, or none."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 0 on, and finite")
    return number


def request_of(options: argparse.Namespace, artifact: str, repository: Path) -> ImportRequest:
    """The request that the options make."""
    return ImportRequest(
        options.model,
        artifact,
        options.samples,
        options.framework,
        repository,
        options.tolerance,
        options.signature,
        options.declare_batching,
    )


def check_name(option: str, name: str) -> None:
    """Raise StageError unless a name can stand in paths, URLs and Kubernetes."""
    if not NAME.fullmatch(name):
        raise StageError(f"{option} {name!r}: use lower-case letters, digits and hyphens, as in my-model")


def import_model(request: ImportRequest) -> Manifest:
    """Put a model and its samples into a repository; raises GateError where it doesn't give the expected answers."""
    format_name, samples = format_of(request.model), read_user_samples(request.samples)
    check_not_converted(request.repository / request.artifact)
    others_with(request.repository, request.artifact, samples.inputs)
    made = [path for path in (request.repository, *request.repository.parents) if not path.exists()]
    request.repository.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{request.artifact}.", dir=request.repository) as temporary:
            folder = Path(temporary) / request.artifact
            return take_in(request, format_name, samples, folder)
    except BaseException:
        for path in made:  # a failed import leaves no empty folders behind
            path.rmdir()
        raise


def check_not_converted(folder: Path) -> None:
    """Raise StageError where an artifact that the export made would be replaced."""
    if (folder / "manifest.json").is_file() and "model_sha256" in Manifest.read(folder, "make export").training:
        raise StageError(f"{shown(folder)} was made by `make export`: choose another --name")


def take_in(request: ImportRequest, format_name: str, samples: UserSamples, folder: Path) -> Manifest:
    """Copy the model into `folder`, check it there, and move it into the repository."""
    place(request.model, format_name, folder / VERSION, samples.inputs, samples.expected, request.signature)
    try:
        model = load(format_name, folder / VERSION, request.model)
        samples = fit(samples, model, request.model)
        batching, parity, answers = examine(model, samples, request)
        first = take(samples.inputs, {spec.name: len(spec.shape) for spec in model.inputs}, [0])
        if reason := find_format(format_name).serving_fault(folder / VERSION, first):
            raise StageError(f"{shown(request.model)}: {reason}")
    except StageError as error:
        raise StageError(in_the_users_words(error, folder / VERSION, request.model)) from error
    if parity.failures:
        raise GateError("; ".join(parity.failures))
    manifest = manifest_of(request, format_name, model, folder, samples, batching, parity, answers)
    manifest.write(folder)
    add_samples(request.repository, request.artifact, samples.inputs, samples.expected, samples.labels)
    replace_folder(request.repository / request.artifact, folder)
    return manifest


def load(format_name: str, version_folder: Path, file: Path) -> LoadedModel:
    """Load the copy; raises StageError whatever is wrong with it."""
    try:
        return find_format(format_name).load(version_folder)
    except StageError:
        raise
    except Exception as error:  # whatever a runtime raises at a file that it doesn't know
        raise StageError(f"{shown(file)} can't be loaded: {first_line(error)}") from error


def examine(
    model: LoadedModel, samples: UserSamples, request: ImportRequest
) -> tuple[Batching, Parity, dict[str, np.ndarray]]:
    """Prove batching and compare the answers; a model that is right row by row alone is served like that."""
    title = shown(request.model)
    check_names(model, samples.inputs, samples.expected)
    batching = prove_batching(model, samples.inputs, title)
    if request.declare_batching and not batching.may_join:
        batching = Batching("declared", f"by the user; the proof said {batching.verdict}: {batching.reason}")
    tolerances = tolerances_of(samples.expected, request.tolerance, request.tolerance)

    def outcome(batching: Batching) -> tuple[Parity, dict[str, np.ndarray]] | StageError:
        try:
            return compare(model, samples.inputs, samples.expected, title, tolerances, batching, score_output(samples))
        except StageError as error:
            return error

    result = outcome(batching)
    if batching.may_join and (failure := failure_of(result)):
        refused = Batching("refused", f"in batches of up to {BATCH_SIZES[0]} samples: {failure}")
        if not failure_of(alone := outcome(refused)):
            batching, result = refused, alone
    if isinstance(result, StageError):
        raise result
    return batching, *result


def failure_of(result: tuple[Parity, dict[str, np.ndarray]] | StageError) -> str:
    """Why answers are not as expected; "" where they are."""
    return str(result) if isinstance(result, StageError) else next(iter(result[0].failures), "")


def score_output(samples: UserSamples) -> str | None:
    """The output whose largest element is the label: the first table of numbers, where labels are known."""
    tables = (name for name, array in samples.expected.items() if array.ndim == 2 and array.dtype.kind == "f")
    return next(tables, None) if samples.labels is not None else None


def in_the_users_words(error: StageError, version_folder: Path, model: Path) -> str:
    """A message about the copy, which is gone, as one about the user's own file."""
    message = str(error).removesuffix(": run `make export`")
    for path in (*sorted(version_folder.rglob("*")), version_folder):
        message = message.replace(shown(path), shown(model)).replace(str(path), str(model))
    return message


def manifest_of(
    request: ImportRequest,
    format_name: str,
    model: LoadedModel,
    folder: Path,
    samples: UserSamples,
    batching: Batching,
    parity: Parity,
    answers: Tensors,
) -> Manifest:
    """Make the manifest of a model that passed."""
    scores = score_output(samples)
    right = float((answers[scores].argmax(axis=1) == samples.labels).mean()) if scores else None
    return Manifest(
        name=request.artifact,
        framework=request.framework,
        format=format_name,
        version=VERSION,
        inputs=model.inputs,
        outputs=model.outputs,
        sha256=files_below(folder),
        size_bytes=size_below(folder),
        test_accuracy=right,
        batching=batching,
        tolerances=tolerances_of(samples.expected, request.tolerance, request.tolerance),
        parity=parity.as_dict(),
    )
