"""The compiled messages are those of the `.proto` files beside them, and the wire format is the published one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from serving import protos

FOLDER = Path(protos.__file__).parent
FIELD = re.compile(r"(?:^|[{;]|\s)(?:repeated\s+)?(?:map<[^>]+>|[\w.]+)\s+(\w+)\s*=\s*(\d+)\s*(?:\[[^]]*\])?\s*;")
SOURCES = sorted(FOLDER.glob("*.proto"))


def compiled_fields(file: str) -> list[tuple[str, int]]:
    """Every field of a compiled file, entries of maps left out."""
    described = descriptor_pb2.FileDescriptorSet.FromString(protos.COMPILED.read_bytes())
    (one,) = [f for f in described.file if f.name == file]
    found: list[tuple[str, int]] = []
    waiting = list(one.message_type)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        if not message.options.map_entry:
            found += [(field.name, field.number) for field in message.field]
    return sorted(found)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_compiled_messages_are_those_of_the_source(source: Path) -> None:
    text = re.sub(r"//.*", "", source.read_text()).replace('syntax = "proto3";', "")
    written = sorted((name, int(number)) for name, number in FIELD.findall(text))
    assert written == compiled_fields(source.name), "run `make protos`"


def test_infer_request_is_encoded_as_published() -> None:
    request = protos.message("inference.ModelInferRequest")(model_name="m", raw_input_contents=[b"\1\2"])
    assert request.SerializeToString() == b"\x0a\x01m" + b"\x3a\x02\1\2"  # fields 1 and 7, length-delimited
