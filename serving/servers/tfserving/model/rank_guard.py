"""Keeps inputs of a wrong rank from a graph that can't take them.

The genuine server hands any shape to the graph, where oneDNN's convolution kills the process over a wrong rank. Here
every combination of ranks that differs from the declared one is tried on paper once, by TensorFlow's own shape
inference over the graph with its functions inlined, before it may run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from contract import Tensors
from serving.servers.tfserving.model.signatures import Signature
from serving.servers.tfserving.status import Status, invalid

MAX_VERDICTS = 512
_NODE = re.compile(r"\{\{node ([^}]+)\}\} = (\w+)\[")


class RankGuard:
    """Knows which ranks the signatures of one model take."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._verdicts: dict[Any, Status | None] = {}
        self._inlined: dict[tuple[str, ...], Any] = {}

    def check(self, signature: Signature, feeds: Tensors, fetches: Sequence[str]) -> None:
        """Raise Status for ranks that the graph can't take; as declared, they pass without a look."""
        for port in signature.inputs.values():
            array = feeds.get(port.tensor)
            if array is not None and (port.shape is None or len(port.shape) != array.ndim):
                break
        else:
            return
        key = (tuple((name, array.ndim, array.dtype.str) for name, array in feeds.items()), tuple(fetches))
        if key not in self._verdicts:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.pop(next(iter(self._verdicts)))
            self._verdicts[key] = self._try(feeds, fetches)
        if (verdict := self._verdicts[key]) is not None:
            shapes = [",".join(map(str, array.shape)) for array in feeds.values()]
            raise invalid(verdict.message.replace("<shape>", f"[{shapes[0]}]"))

    def _try(self, feeds: Tensors, fetches: Sequence[str]) -> Status | None:
        import tensorflow as tf

        graph = self._inline(tuple(fetches))
        with tf.Graph().as_default():
            try:
                placed = {name: _placeholder(tf, array) for name, array in feeds.items()}
                tf.import_graph_def(graph, input_map=placed, name="")
            except ValueError as error:
                return _verdict(str(error))
            except TypeError:
                return None  # a type that NumPy has and a placeholder hasn't: the session refuses it itself
        return None

    def _inline(self, fetches: tuple[str, ...]) -> Any:
        """The part of the graph that computes `fetches`, without function calls; the graph itself if that fails."""
        import tensorflow as tf
        from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
        from tensorflow.python.grappler import tf_optimizer

        if fetches not in self._inlined:
            config = config_pb2.ConfigProto()
            config.graph_options.rewrite_options.optimizers.append("function")
            config.graph_options.rewrite_options.min_graph_nodes = -1
            meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=self._graph)
            meta_graph.collection_def["train_op"].node_list.value.extend(fetches)
            try:
                self._inlined[fetches] = tf_optimizer.OptimizeGraph(config, meta_graph)
            except (tf.errors.OpError, ValueError, RuntimeError):
                self._inlined[fetches] = self._graph
        return self._inlined[fetches]


def _placeholder(tf: Any, array: Any) -> Any:
    dtype = tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)
    return tf.compat.v1.placeholder(dtype, [None] * array.ndim)


def _verdict(text: str) -> Status | None:
    """The refusal; a mismatch of types is no matter of ranks and left to the session."""
    if "rank" not in text and "dimension" not in text.lower():
        return None
    node = _NODE.search(text)
    if node and node[2] == "Conv2D":
        return invalid(f"convolution input must be 4-dimensional: <shape>\n\t [[{{{{node {node[1]}}}}}]]")
    return invalid(text)
