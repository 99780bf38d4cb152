"""Names of endpoints, as short as one report allows: only the parts that tell its endpoints apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from loadtest.analysis.figures import EndpointReport
from loadtest.table import Facets

PROTOCOLS = {"rest": "JSON", "rest-binary": "binary REST", "grpc": "gRPC"}
"""What a protocol is called in a sentence, in the order in which protocols are shown."""


class Names:
    """The short names of one report's endpoints, by their full names."""

    def __init__(self, endpoints: Iterable[EndpointReport]) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._several_servers = len({endpoint.server for endpoint in self._endpoints.values()}) > 1
        self._several_protocols = len({endpoint.protocol for endpoint in self._endpoints.values()}) > 1

    def knows(self, name: str) -> bool:
        """Whether the report has an endpoint of this name."""
        return name in self._endpoints

    def short(self, name: str) -> str:
        """`onnxruntime pytorch grpc`, or `tflite grpc` where tflite hosts one artifact: for tables."""
        endpoint = self._endpoints[name]
        parts = [
            endpoint.server if self._several_servers else "",
            self._artifact(endpoint),
            endpoint.protocol if self._several_protocols else "",
        ]
        return " ".join(part for part in parts if part) or endpoint.server

    def spoken(self, name: str) -> str:
        """`onnxruntime over gRPC (pytorch)`: for sentences."""
        endpoint = self._endpoints[name]
        part = self._artifact(endpoint)
        over = f" over {protocol_word(endpoint.protocol)}" if self._several_protocols else ""
        return f"{endpoint.server}{over}{f' ({part})' if part else ''}"

    def described(self, names: Sequence[str]) -> str:
        """Endpoints at the head of a sentence: `tflite and onnxruntime over binary REST or gRPC`, or the first of them
        and how many others.
        """
        endpoints = [self._endpoints[name] for name in names]
        servers = list(dict.fromkeys(endpoint.server for endpoint in endpoints))
        protocols = {endpoint.protocol for endpoint in endpoints}
        meant = {e.name for e in self._endpoints.values() if e.server in servers and e.protocol in protocols}
        if len(names) > 2 and len(servers) < 3 and meant == set(names):
            over = " or ".join(protocol_word(protocol) for protocol in ordered_protocols(protocols))
            everywhere = len(meant) == sum(e.server in servers for e in self._endpoints.values())
            return listed(servers) + ("" if everywhere else f" over {over}")
        return capped([self.spoken(name) for name in names], most=1)

    def facets(self, name: str) -> Facets:
        """What the page filters an endpoint by."""
        endpoint = self._endpoints[name]
        return Facets(endpoint.server, endpoint.format, endpoint.protocol, endpoint.framework)

    def grouped(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The endpoints under as few labels as they allow, in their order: a server's name where all of it is meant."""
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(self._label(self._endpoints[name], frozenset(names)), []).append(name)
        return groups

    def _label(self, endpoint: EndpointReport, meant: frozenset[str]) -> str:
        siblings = [other for other in self._endpoints.values() if other.server == endpoint.server]
        if len(siblings) > 1 and all(other.name in meant for other in siblings) and self._several_servers:
            return endpoint.server
        same = [other for other in siblings if other.artifact == endpoint.artifact]
        part = self._artifact(endpoint)
        if len(same) > 1 and part and all(other.name in meant for other in same):
            return f"{endpoint.server} {part}" if self._several_servers else part
        return self.short(endpoint.name)

    def _artifact(self, endpoint: EndpointReport) -> str:
        """What tells the artifact from the others of its server: framework, format, or what differs of its name."""
        artifacts = {other.artifact: other for other in self._endpoints.values() if other.server == endpoint.server}
        if len(artifacts) == 1:
            return ""
        for part in ("framework", "format"):
            values = [getattr(other, part) for other in artifacts.values()]
            if all(values) and len(set(values)) == len(values):
                return str(getattr(endpoint, part))
        return endpoint.artifact.removeprefix(_same_start(artifacts))


def _same_start(artifacts: Iterable[str]) -> str:
    """What all names have in common, up to a hyphen: it tells nothing apart."""
    parts = [artifact.split("-") for artifact in artifacts]
    shared = list(takewhile(lambda pieces: len(set(pieces)) == 1, zip(*(names[:-1] for names in parts), strict=False)))
    return "".join(f"{pieces[0]}-" for pieces in shared)


def protocol_word(protocol: str) -> str:
    """A protocol as a sentence calls it."""
    return PROTOCOLS.get(protocol, protocol)


def ordered_protocols(protocols: Iterable[str]) -> list[str]:
    """Protocols in the order in which every chart and table shows them; unknown ones last, by the alphabet."""
    order = list(PROTOCOLS)
    return sorted(set(protocols), key=lambda name: (order.index(name) if name in order else len(order), name))


def others(number: int) -> str:
    """`1 other`, `6 others`."""
    return f"{number} other{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def capped_groups(groups: dict[str, list[str]], most: int) -> str:
    """The labels of the first `most` groups, and how many endpoints the other groups have."""
    labels = list(groups)
    left = sum(len(groups[label]) for label in labels[most:])
    return listed([*labels[:most], others(left)] if left else labels)


def capped(names: Sequence[str], most: int = 2) -> str:
    """The first `most` names and how many others there are."""
    return listed(names) if len(names) <= max(most, 2) else listed([*names[:most], others(len(names) - most)])
