"""The gRPC messages that clients and our own servers speak, without a code generator at run time.

`protos.desc` is the compiled form of the `.proto` files here: `make protos` writes it, a test holds the two together.
The messages live in a descriptor pool of their own, so that tritonclient or tensorflow-serving-api, which register the
same names, can be imported in the same process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

COMPILED = Path(__file__).with_name("protos.desc")


def _load_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    for file in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        pool.Add(file)
    return pool


_POOL = _load_pool()


def message(full_name: str) -> Any:
    """The message class called `full_name`, e.g. `inference.ModelInferRequest`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))
