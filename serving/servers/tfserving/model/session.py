"""One loaded SavedModel: a TensorFlow session as the genuine server has it, and one prepared call per signature.

A prepared call of a session is the leanest way to run a signature from Python (half the overhead of a concrete function
at one image), it feeds any shape, and its errors have the texts of the genuine server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract import Tensors
from serving.servers.tfserving.model.rank_guard import guard_convolutions, worded_as_the_kernel
from serving.servers.tfserving.model.signatures import KIND_OF, Signature, read_signature
from serving.servers.tfserving.status import NAMES, Status, from_tensorflow, invalid

MAX_CALLS = 256
"""Prepared calls kept; each selection of outputs needs one."""


@dataclass(frozen=True)
class SessionSettings:
    """How sessions run: threads, 0 for one a core."""

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    tags: tuple[str, ...] = ("serve",)


class Session:
    """A version of a model in memory."""

    def __init__(self, session: Any, meta_graph: Any) -> None:
        self._session = session
        self._calls: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., list[Any]]] = {}
        self.signatures: dict[str, Signature] = {
            name: read_signature(name, proto) for name, proto in sorted(meta_graph.signature_def.items())
        }

    def run(self, signature: Signature, inputs: Tensors, outputs: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The named outputs, or all of them, for inputs of any shape; raises Status with the kernel's text."""
        ports = signature.inputs
        feeds = {ports[alias].tensor: array for alias, array in inputs.items()}
        names = outputs or signature.outputs
        results = self.fetch(signature, feeds, [signature.outputs[alias].tensor for alias in names])
        return dict(zip(names, results, strict=True))

    def fetch(self, signature: Signature, feeds: Tensors, tensors: Sequence[str]) -> list[np.ndarray]:
        """Tensors of the graph by name."""
        names = sorted(feeds)
        check_types(signature, names, feeds)
        call = self._call(tuple(names), tuple(tensors))
        try:
            results = call(*[feeds[name] for name in names])
        except Exception as error:  # a kernel's refusal is the answer
            refusal = from_tensorflow(error)
            raise Status(refusal.code, worded_as_the_kernel(refusal.message)) from None
        return [result if isinstance(result, np.ndarray) else _scalar(result) for result in results]

    def close(self) -> None:
        """Free the session."""
        self._calls.clear()
        self._session.close()

    def _call(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., list[Any]]:
        call = self._calls.get((feeds, fetches))
        if call is None:
            from tensorflow.core.protobuf import config_pb2

            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            try:
                call = self._session._make_callable_from_options(options)  # there is no public name
            except Exception as error:  # e.g. a tensor that is not in the graph
                raise from_tensorflow(error) from None
            if len(self._calls) >= MAX_CALLS:
                self._calls.pop(next(iter(self._calls)))
            self._calls[feeds, fetches] = call
        return call


def _scalar(value: Any) -> np.ndarray:
    return np.array(value, object if isinstance(value, bytes) else None)


def check_types(signature: Signature, names: Sequence[str], feeds: Tensors) -> None:
    """Raise Status, in the words of the genuine server's executor, for an array that isn't of the declared type."""
    kinds = {port.tensor: port.kind for port in signature.inputs.values()}
    for index, name in enumerate(names):
        wanted, dtype = kinds[name], feeds[name].dtype
        if wanted is None or wanted.dtype != dtype:
            provided = KIND_OF[dtype].name if dtype in KIND_OF else str(dtype)
            expected = wanted.name if wanted else "invalid"
            raise invalid(f"Expects arg[{index}] to be {expected} but {provided} is provided")


def load(folder: Path, settings: SessionSettings) -> Session:
    """Load a version's folder; raises Status with what is wrong with it."""
    tf = quiet_tensorflow()
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=settings.intra_op_threads, inter_op_parallelism_threads=settings.inter_op_threads
    )
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        where = "Could not find SavedModel .pb or .pbtxt at supplied export directory path"
        raise Status("NOT_FOUND", f"{where}: {folder}. Check that the directory exists and that you have permissions.")
    from tensorflow.python.saved_model.loader_impl import SavedModelLoader  # the public `load` can't change the graph

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        loader = SavedModelLoader(str(folder))
        guard_convolutions(loader.get_meta_graph_def_from_tags(settings.tags))
        with graph.as_default():
            meta_graph = loader.load(session, list(settings.tags))
        return Session(session, meta_graph)
    except Exception as error:  # whatever is wrong with the files is reported as the version's state
        session.close()
        if getattr(error, "error_code", None) in NAMES:
            raise from_tensorflow(error) from None
        raise invalid(f"{type(error).__name__}: {error}") from None


def quiet_tensorflow() -> Any:
    """TensorFlow, imported without its banners and without looking for a GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    return tf
