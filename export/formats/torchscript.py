"""TorchScript, what TorchServe hosts without Python code of the model: `model.pt`, with the tensors' names beside it.

TorchScript files don't say how their tensors are called, so `signature.json` does. PyTorch calls TorchScript
deprecated; the warnings that say so are silenced here, by their text, because this is what TorchServe can host.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from contract import DATATYPE_OF, StageError, Tensors, TensorSpec, shown, to_json
from export.format import Format, LoadedModel

FILE = "model.pt"
SIGNATURE_FILE = "signature.json"


class TorchScript(Format):
    """Written by `torch.jit.trace`, run by PyTorch."""

    packages = {"pytorch": ("torch",)}

    def from_pytorch(self, model_folder: Path, version_folder: Path) -> None:
        """Trace the trained network; the batch stays free."""
        import torch

        from training.mnist import INPUT, OUTPUT
        from training.train_pytorch import load

        with without_deprecation():
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                load(model_folder), torch.zeros(2, *INPUT.shape[1:])
            )
            torch.jit.save(traced, str(version_folder / FILE))
        write_signature(version_folder, (INPUT,), (OUTPUT,))

    def load(self, version_folder: Path, threads: int = 1) -> LoadedModel:
        """Load `model.pt` and `signature.json`; threads are the process's."""
        inputs, outputs = read_signature(version_folder)
        import torch

        torch.set_num_threads(threads)
        try:
            with without_deprecation():
                module = torch.jit.load(str(version_folder / FILE)).eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise StageError(f"{shown(version_folder / FILE)} is no TorchScript that loads: {reason}") from error
        names = [spec.name for spec in inputs]
        scalars = scalar_arguments(module)

        def argument(name: str, array: np.ndarray) -> Any:
            if name in scalars:
                return array.item()
            # the copy: PyTorch has no read-only tensors, and a view of a received body is read-only
            return torch.from_numpy(array if array.flags.writeable else array.copy())

        def run(tensors: Tensors) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                answers = by_name(module(*(argument(name, tensors[name]) for name in names)), outputs)
            return {name: answer.numpy() for name, answer in answers.items()}

        return LoadedModel(inputs, outputs, run, changed_attribute(module.inlined_graph))


def write_user_signature(version_folder: Path, title: str, inputs: Tensors, expected: Tensors) -> None:
    """Write the signature of a user's module: the samples' tensors, in the order of the arguments of its `forward`."""
    import torch

    try:
        with without_deprecation():
            module = torch.jit.load(str(version_folder / FILE)).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise StageError(f"{title} is {what_it_is(version_folder / FILE, error)}") from error
    order, scalars = argument_order(module, title, inputs), scalar_arguments(module)
    double = any(tensor.dtype == torch.float64 for tensor in module.state_dict().values())

    def spec(name: str, array: np.ndarray) -> TensorSpec:
        # NumPy makes doubles where nobody asked for them
        datatype = "FP32" if array.dtype == np.float64 and not double else DATATYPE_OF[array.dtype]
        return TensorSpec(name, datatype, () if name in scalars else (-1, *array.shape[1:]))

    sides = (tuple(spec(name, inputs[name]) for name in order), tuple(spec(n, array) for n, array in expected.items()))
    write_signature(version_folder, *sides)


def what_it_is(path: Path, error: Exception) -> str:
    """Say what a file that isn't TorchScript is: weights, or something else."""
    import torch

    way = "save the module with `torch.jit.trace(module, example).save(path)`, or as ONNX with torch.onnx.export"
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception:  # whatever pickle and torch raise at a file of another kind
        return f"no TorchScript that loads ({str(error).splitlines()[0]}): {way}"
    kind = "a state dict, weights without a network" if isinstance(content, dict) else f"a {type(content).__name__}"
    return f"{kind}: {way}"


def arguments_of(module: Any) -> list[tuple[str, str]]:
    """Name and type of each argument of `forward` that has no default value."""
    arguments = module.forward.schema.arguments[1:]
    return [(argument.name, str(argument.type)) for argument in arguments if not argument.has_default_value()]


def scalar_arguments(module: Any) -> set[str]:
    """The arguments that are numbers of Python, not tensors."""
    return {name for name, kind in arguments_of(module) if kind in ("int", "float", "bool", "number")}


def argument_order(module: Any, title: str, inputs: Tensors) -> list[str]:
    """The samples' inputs in the order of the module's arguments: by name, or the only one."""
    names = [name for name, _ in arguments_of(module)]
    if len(inputs) != len(names):
        raise StageError(
            f"{title}: forward takes {len(names)} arguments ({', '.join(names)}), the samples have {len(inputs)}"
        )
    if len(inputs) == 1 and not scalar_arguments(module):
        return list(inputs)
    if set(inputs) != set(names):
        raise StageError(
            f"{title}: forward takes ({', '.join(names)}), the samples have {', '.join(inputs)}: TorchScript doesn't "
            "say which is which, so name the samples' inputs as the arguments"
        )
    return names


def changed_attribute(graph: Any) -> str:
    """Name an attribute of the module that a run writes or changes in place; "" without one."""
    for node in nodes_of(graph):
        if node.kind() == "prim::SetAttr":
            return f"it sets its attribute {node.s('name')!r}"
        source = next(iter(node.inputs())).node() if node.kind().endswith("_") and list(node.inputs()) else None
        if source is not None and source.kind() == "prim::GetAttr":
            return f"{node.kind()} changes its attribute {source.s('name')!r}"
    return ""


def nodes_of(block: Any) -> Iterator[Any]:
    """Every node of a graph, those of its branches and loops too."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes_of(inner)


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Silence PyTorch's notice that TorchScript is deprecated, and nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
        yield


def by_name(answer: Any, outputs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    """Name what a module returned: one tensor, a tuple in the order of the outputs, or a dict."""
    wanted = [spec.name for spec in outputs]
    if isinstance(answer, dict):
        if missing := set(wanted) - set(answer):
            raise ValueError(f"forward returns {', '.join(answer)}, not {', '.join(sorted(missing))}")
        return {name: answer[name] for name in wanted}
    answers = answer if isinstance(answer, (tuple, list)) else (answer,)
    if len(answers) != len(wanted):
        raise ValueError(
            f"forward returns {len(answers)} tensors, the samples expect {len(wanted)} ({', '.join(wanted)})"
        )
    return dict(zip(wanted, answers, strict=True))


def write_signature(version_folder: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Write the names, datatypes and shapes of the tensors beside the model."""
    fields = {"inputs": [asdict(spec) for spec in inputs], "outputs": [asdict(spec) for spec in outputs]}
    (version_folder / SIGNATURE_FILE).write_text(to_json(fields))


def read_signature(version_folder: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Read what `write_signature` wrote; raises StageError where a file is missing or unreadable."""
    for name in (FILE, SIGNATURE_FILE):
        if not (version_folder / name).is_file():
            raise StageError(f"no {shown(version_folder / name)}: run `make export`")
    try:
        fields = json.loads((version_folder / SIGNATURE_FILE).read_text())
        inputs, outputs = (
            tuple(TensorSpec.from_json(tensor) for tensor in fields[side]) for side in ("inputs", "outputs")
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StageError(f"{shown(version_folder / SIGNATURE_FILE)} is no signature: {error}") from error
    return inputs, outputs


FORMAT = TorchScript()
