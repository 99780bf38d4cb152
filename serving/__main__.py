"""`python -m serving list | up [server…] | smoke | predict | conformance`: the serving stage on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contract import MODEL_REPOSITORY, Manifest, StageError, Tensors, shown
from serving.client import PredictionError, check, predict
from serving.process.running_endpoints import read_running
from serving.process.supervisor import up
from serving.repository import read_artifacts, read_samples
from serving.server import Endpoint, find_server, list_servers, servers_for

PRINTED = 100


def list_command(_arguments: argparse.Namespace) -> int:
    """Print every server: formats, protocols and ports, and which engine would be used here."""
    for name in list_servers():
        server = find_server(name)
        try:
            engine = server.engine()
        except StageError as error:
            engine = f"none ({error})"
        protocols = ", ".join(f"{protocol} {server.ports[port]}" for protocol, port in server.protocols.items())
        print(f"{name:12} {'/'.join(server.formats):12} {protocols:40} engine: {engine}")
    return 0


def up_command(arguments: argparse.Namespace) -> int:
    """Run servers until Ctrl-C."""
    return up(arguments.servers or servers_for(read_artifacts()), arguments.port_offset)


def smoke_command(_arguments: argparse.Namespace) -> int:
    """Send one checked prediction to every running endpoint; 1 if any is wrong."""
    samples, artifacts = read_samples(), read_artifacts()
    failed = 0
    for endpoint in read_running():
        try:
            if endpoint.artifact not in artifacts:
                raise PredictionError(f"{endpoint.name}: {shown(MODEL_REPOSITORY)} has no such artifact: set MODEL")
            answer = check(endpoint, artifacts[endpoint.artifact], samples, [0])
        except PredictionError as error:
            failed += 1
            print(f"FAIL  {error}")
        else:
            print(f"ok    {endpoint.name:45} {answer.latency_ms:7.2f} ms  engine: {endpoint.engine}")
    return 1 if failed else 0


def predict_command(arguments: argparse.Namespace) -> int:
    """Print the outputs for an image, or for a sample of the repository; the label where they are class scores."""
    endpoint = _find_endpoint(arguments.endpoint)
    manifest = read_artifacts()[endpoint.artifact]
    inputs = _inputs(arguments, manifest)
    answer = predict(endpoint, manifest, inputs)
    for name, array in answer.outputs.items():
        if are_probabilities(array):
            print(f"label {int(np.argmax(array[0]))}")
        print(describe_output(name, array))
    return 0


def are_probabilities(array: np.ndarray) -> bool:
    """Whether an output is a table of class probabilities, whose largest is a label."""
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 2:
        return False
    return bool((array >= 0).all() and np.allclose(array.sum(axis=1), 1, atol=1e-2))


def describe_output(name: str, array: np.ndarray) -> str:
    """One line for an output: its name, its shape, its values (the first PRINTED)."""
    words = [printed(value) for value in array.ravel()[:PRINTED].tolist()]
    if array.size > PRINTED:
        words.append(f"… {array.size - PRINTED:,} more")
    return f"{name} {list(array.shape)} {' '.join(words)}"


def printed(value: object) -> str:
    """A value as its datatype has it: integers and booleans exactly, strings in quotes."""
    if isinstance(value, bytes):
        return repr(value.decode(errors="replace"))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def conformance_command(words: Sequence[str]) -> int:
    """Run the published protocol cases against a server."""
    from serving.conformance import main as run_conformance

    return run_conformance(words)


def _find_endpoint(name: str) -> Endpoint:
    running = {endpoint.name: endpoint for endpoint in read_running()}
    if name not in running:
        raise StageError(f"no running endpoint {name!r}: choose from {', '.join(running)}")
    return running[name]


def _inputs(arguments: argparse.Namespace, manifest: Manifest) -> Tensors:
    if arguments.image is None:
        return read_samples().take([arguments.sample])
    return read_image(arguments.image, manifest, invert=arguments.invert)


def read_image(path: Path, manifest: Manifest, *, invert: bool = False) -> Tensors:
    """An image file as the model's only input: resized to its [-1, height, width, channels], scaled to 0…1."""
    shape = manifest.inputs[0].shape
    if len(manifest.inputs) != 1 or len(shape) != 4 or shape[3] not in (1, 3):
        raise StageError(f"{manifest.name} takes {manifest.inputs}, not an image [-1, height, width, 1 or 3]")
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise StageError("--image needs the package pillow: run `make install`") from None
    try:
        with Image.open(path) as image:
            converted = image.convert("L" if shape[3] == 1 else "RGB").resize((shape[2], shape[1]))
    except (OSError, UnidentifiedImageError) as error:
        raise StageError(f"{path} is no image that can be read ({error}): give a PNG or JPEG file") from None
    pixels = np.asarray(converted, np.float32).reshape(1, *shape[1:]) / np.float32(255)
    pixels = 1 - pixels if invert else pixels
    return {manifest.inputs[0].name: pixels.astype(manifest.inputs[0].dtype)}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("list", help=list_command.__doc__).set_defaults(run=list_command)
    command = commands.add_parser("up", help=up_command.__doc__)
    command.add_argument(
        "servers", nargs="*", help=f"default: of these all with an artifact: {' '.join(list_servers())}"
    )
    command.add_argument("--port-offset", type=int, default=0, help="added to every default port")
    command.set_defaults(run=up_command)
    commands.add_parser("smoke", help=smoke_command.__doc__).set_defaults(run=smoke_command)
    command = commands.add_parser("predict", help=predict_command.__doc__)
    command.add_argument("--endpoint", required=True, help="server/artifact/protocol, as `up` prints it")
    command.add_argument("--image", type=Path, help="PNG or JPEG; white on black, as MNIST is")
    command.add_argument("--invert", action="store_true", help="the image is black on white")
    command.add_argument("--sample", type=int, default=0, help="sample of the repository, where no image is given")
    command.set_defaults(run=predict_command)
    commands.add_parser("conformance", help=conformance_command.__doc__, add_help=False)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a StageError is printed and gives 2, a wrong or missing answer 1."""
    words = list(sys.argv[1:] if argv is None else argv)
    flags = words[1:] if words[:1] == ["conformance"] else None  # it has flags of its own, which argparse would refuse
    arguments = parse(words if flags is None else words[:1])
    try:
        status: int = arguments.run(arguments) if flags is None else conformance_command(flags)
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except PredictionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
