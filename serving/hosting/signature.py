"""What a model takes and gives: the checks of a request that every protocol makes, in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contract import DATATYPES, Tensors, TensorSpec
from serving.hosting.errors import RequestError
from serving.hosting.tensors import shape_text


def describe(spec: TensorSpec) -> str:
    """A tensor as messages name it: `image (FP32 [-1,28,28,1])`."""
    return f"{spec.name} ({spec.datatype} {shape_text(spec.shape)})"


class Signature:
    """The inputs and outputs of a model, ready for checking requests."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], may_join: bool = False) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        tensors = (*inputs, *outputs)
        self.has_bytes = any(spec.datatype == "BYTES" for spec in tensors)
        self.has_batch = all(spec.shape[:1] == (-1,) for spec in tensors)
        """Whether the first dimension of every tensor is free."""
        self.joins = self.has_batch and may_join
        """Whether requests may share a run: `may_join` is the export's word, which knows the dimensions' names, too."""

    def check_input(self, name: str, datatype: str, shape: Sequence[int]) -> TensorSpec:
        """The spec that an input of a request has to meet; raises RequestError where it does not."""
        spec = self.inputs.get(name)
        if spec is not None and datatype == spec.datatype and len(shape) == len(spec.shape):
            for size, expected in zip(shape, spec.shape):  # noqa: B905 - a microsecond for each check
                if expected not in (-1, size):
                    break
            else:
                if 0 not in shape or 0 in spec.shape:
                    return spec
        raise self._mismatch(name, datatype, shape)

    def _mismatch(self, name: str, datatype: str, shape: Sequence[int]) -> RequestError:
        """What is wrong with an input that is refused."""
        spec = self.inputs.get(name)
        if spec is None:
            return RequestError(400, f"unexpected input {name!r}: the model takes {_list(self.inputs)}")
        if datatype != spec.datatype:
            known = "" if datatype in DATATYPES else f", which is no datatype (there are {', '.join(DATATYPES)})"
            return RequestError(
                400, f"input {name!r} has datatype {datatype!r}{known}: the model expects {spec.datatype}"
            )
        got = f"input {name!r} has shape {shape_text(shape)}"
        free_filled = [have if want == -1 else want for have, want in zip(shape, spec.shape, strict=False)]
        if len(shape) == len(spec.shape) and free_filled == [*shape]:
            return RequestError(400, f"{got}, no element: at least one is expected")
        return RequestError(400, f"{got}: the model expects {shape_text(spec.shape)}")

    def check_complete(self, inputs: Tensors) -> None:
        """Raise RequestError unless every input is there, with the same number of rows where requests are joined."""
        if len(inputs) != len(self.inputs):
            missing = [describe(spec) for name, spec in self.inputs.items() if name not in inputs]
            raise RequestError(400, f"missing input {', '.join(missing)}")
        if self.joins and len(inputs) > 1 and len({len(array) for array in inputs.values()}) > 1:
            rows = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
            raise RequestError(400, f"the inputs differ in their first dimension ({rows}): the same is expected of all")

    def check_output(self, name: Any) -> str:
        """A requested output's name; raises RequestError where there is none of that name."""
        if type(name) is not str or name not in self.outputs:
            raise RequestError(400, f"unknown output {name!r}: the model gives {_list(self.outputs)}")
        return name


def _list(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(describe(spec) for spec in specs.values())
