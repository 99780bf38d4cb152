"""Keeps inputs of a wrong rank from convolutions, whose kernels in oneDNN end the process over them.

TensorFlow's kernels for Conv2D, DepthwiseConv2dNative and Conv3D look up dimensions by index before they check the rank
(`tensor_format.h`, "Check failed: index >= 0 && index < num_total_dims"); without oneDNN they refuse such an input. So
every convolution of a model is given an EnsureShape in front, which refuses it; all other kernels refuse by themselves.
"""

from __future__ import annotations

import re
from typing import Any

RANKS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "Conv3D": 5}
NAME = "rank_guard"
_REFUSED = re.compile(r"Shape of tensor \S+ (\[[^]]*\]) is not compatible with expected shape (\[[?,]+\])\.")


def guard_convolutions(meta_graph: Any) -> None:
    """Put a check of the rank before every convolution of a MetaGraphDef, those in functions included."""
    _guard(meta_graph.graph_def.node, "")
    for function in meta_graph.graph_def.library.function:
        _guard(function.node_def, ":output:0")


def worded_as_the_kernel(message: str) -> str:
    """The text of an error, that of a guard in the words of the kernel that it stands before."""
    refused = _REFUSED.match(message)
    if refused is None or f"/{NAME}}}}}" not in message:
        return message
    shape, wanted = refused.groups()
    text = f"convolution input must be {wanted.count('?')}-dimensional: {shape}"
    return text + message[refused.end() :].replace(f"/{NAME}}}}}", "}}")


def _guard(nodes: Any, output: str) -> None:
    for node in list(nodes):
        if node.op not in RANKS:
            continue
        check = nodes.add(name=f"{node.name}/{NAME}", op="EnsureShape", input=[node.input[0]], device=node.device)
        check.attr["T"].CopyFrom(node.attr["T"])
        for _ in range(RANKS[node.op]):
            check.attr["shape"].shape.dim.add(size=-1)
        node.input[0] = check.name + output
