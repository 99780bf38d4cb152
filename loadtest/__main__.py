"""The load test: `python -m loadtest` measures every endpoint in rounds; its subcommands use what was measured.

    python -m loadtest [--profile smoke|quick|full] [--servers NAME…] [--only ENDPOINT…] [--resume NAME]
    python -m loadtest --host HOST | --endpoints FILE        servers that run already
    python -m loadtest report | summary | gate | slo | in-process | crosscheck | bench | faults | …    each has --help

Reads the model repository; writes `<workspace>/results/<comparison>/`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from contract import StageError, shown
from loadtest.runs.comparison import Comparison, run_comparison
from loadtest.scenarios import PROFILES, find_profile
from serving.repository import read_artifacts
from serving.server import Endpoint, find_server, list_servers

SUBCOMMANDS = {
    "report": "loadtest.report.command",
    "summary": "loadtest.analysis.summary",
    "gate": "loadtest.analysis.gate",
    "slo": "loadtest.runs.slo",
    "in-process": "loadtest.runs.in_process",
    "crosscheck": "loadtest.crosscheck.command",
    "simulate": "loadtest.crosscheck.coverage",
    "bench": "loadtest.bench.servers",
    "faults": "loadtest.bench.faults",
    "mixing": "loadtest.bench.mixing",
    "head-of-line": "loadtest.bench.head_of_line",
    "client-speed": "loadtest.bench.client_speed",
    "equal-work": "loadtest.bench.equal_work",
}
"""The module of each subcommand; its `main(argv)` returns the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison, or the subcommand that comes first; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if words and words[0] in SUBCOMMANDS:
            return int(importlib.import_module(SUBCOMMANDS[words[0]]).main(words[1:]))
        return _compare(words)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _compare(words: Sequence[str]) -> int:
    options = _parser().parse_args(words)
    comparison = Comparison.read(options.resume) if options.resume else _asked(options, words)
    try:
        failed = run_comparison(comparison)
    except KeyboardInterrupt:
        print(f"\nkept what was measured: go on with `make loadtest RESUME={comparison.name}`", file=sys.stderr)
        raise
    print(f"results: {shown(comparison.folder)}", file=sys.stderr)
    if failed:
        raise StageError(f"no right answers from {', '.join(failed)}: see {shown(comparison.folder)}/generator.log")
    return 0


def _asked(options: argparse.Namespace, words: Sequence[str]) -> Comparison:
    profile = find_profile(options.profile)
    return Comparison(
        name=options.name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{profile.name}",
        profile=profile,
        seed=options.seed,
        servers=tuple(options.servers),
        attached=_attached(options.host, options.endpoints),
        only=tuple(options.only),
        target_ms=options.target_ms,
        rate_rps=options.rate,
        starts=options.rounds,
        command=os.environ.get("COMMAND") or shlex.join(("python", "-m", "loadtest", *words)),
    )


def _attached(host: str, endpoints: Path | None) -> tuple[Endpoint, ...]:
    """The endpoints that run already: those in a file, or every server's on its default ports that
    `host` listens on.
    """
    if endpoints is not None:
        try:
            return tuple(Endpoint(**fields) for fields in json.loads(endpoints.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise StageError(f"{endpoints} is no list of endpoints ({error}): `make serve-all` writes one") from None
    if not host:
        return ()
    repository, endpoints_there = read_artifacts(), list[Endpoint]()
    for server in map(find_server, list_servers()):
        artifacts = {name: manifest for name, manifest in repository.items() if manifest.format in server.formats}
        endpoints_there += [e for e in server.endpoints(artifacts, server.ports, "attached", host) if _listens(e)]
    if not endpoints_there:
        raise StageError(f"no server listens on {host} at its default ports: start them there with `make serve-all`")
    return tuple(endpoints_there)


def _listens(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection((endpoint.host, endpoint.port), timeout=2).close()
    except OSError:
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=tuple(PROFILES), help="how much is measured")
    parser.add_argument("--rounds", type=int, default=0, help="starts of every server, other than the profile's")
    parser.add_argument("--seed", type=int, default=1, help="of the order and the arrivals")
    parser.add_argument("--servers", nargs="*", default=(), metavar="NAME", help="servers to compare; all by default")
    parser.add_argument(
        "--only", nargs="*", default=(), metavar="ENDPOINT", help="endpoints by name, or by its beginning"
    )
    parser.add_argument("--host", default=os.environ.get("HOST", ""), help="measure the servers that run there")
    parser.add_argument("--endpoints", type=Path, help="measure the endpoints that this JSON file lists")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="requests/s of the open load, in place of a share of what the weakest endpoint bears",
    )
    parser.add_argument("--target-ms", type=float, default=5.0, help="latency up to which an answer is goodput")
    parser.add_argument("--name", default="", help="of the comparison; the time by default")
    parser.add_argument(
        "--resume", default=os.environ.get("RESUME", ""), metavar="NAME", help="go on with a comparison"
    )
    return parser


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
