"""`python -m serving conformance --url … --api …`: put the published protocol cases to any server.

    python -m serving conformance --url http://127.0.0.1:8000 --api oip-rest --artifact pytorch-onnx
    python -m serving conformance --url 127.0.0.1:8001 --api oip-grpc --artifact pytorch-onnx
    python -m serving conformance --url http://127.0.0.1:8501 --grpc 127.0.0.1:8500 --api tfserving --artifact tensorflow-savedmodel
    python -m serving conformance --start

Prints the matrix of MUST, SHOULD and observed; `--json` writes it as `report.json` has it. `--start` starts each of our
servers in turn, `--running` takes those that `python -m serving up` started; both write <workspace>/conformance.json,
where the report looks for it. Exit status: 0, 1 where a MUST fails, 2 where the server can't be asked.
"""  # noqa: E501 - commands are shown as they are typed

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from contract import WORKSPACE, StageError, shown, to_json, write_whole
from serving.conformance.endpoints import examine, examine_started
from serving.conformance.matrix import matrix, summary
from serving.conformance.runner import APIS, Verdict, run
from serving.conformance.signature import find_subject

CONFORMANCE = WORKSPACE / "conformance.json"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serving conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers = parser.add_mutually_exclusive_group(required=True)
    servers.add_argument("--url", help="the server: http://host:port, or host:port for gRPC")
    servers.add_argument("--running", action="store_true", help="every endpoint that `python -m serving up` started")
    servers.add_argument(
        "--start", nargs="*", metavar="SERVER", help="start these servers, or all, one after the other"
    )
    parser.add_argument("--api", choices=APIS, help="the protocol to hold the server to; needed with --url")
    parser.add_argument("--artifact", help="the model to use; needed with --url")
    parser.add_argument(
        "--grpc", default="", metavar="HOST:PORT", help="gRPC port of the same server, where it has one"
    )
    parser.add_argument("--repository", type=Path, help="model repository with the manifest and samples of the model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts into this file")
    parser.add_argument("--failures", action="store_true", help="print only cases that failed")
    options = parser.parse_args(argv)
    if options.url and not (options.api and options.artifact):
        parser.error("--url needs --api and --artifact")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases and print the matrix; see the module for the exit status."""
    options = parse(argv)
    try:
        verdicts = _verdicts(options)
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(matrix(verdicts, failures_only=options.failures))
    print()
    print(summary(verdicts))
    target = options.json or (None if options.url else CONFORMANCE)
    if target:
        write_whole(target, to_json([verdict.to_json() for verdict in verdicts]).encode())
        print(f"\nverdicts: {shown(target)}")
    return 1 if any(verdict.count("MUST", "fail") for verdict in verdicts) else 0


def _verdicts(options: argparse.Namespace) -> list[Verdict]:
    if options.url:
        return [_of_url(options)]
    if options.start is not None:
        return examine_started(options.start)
    from serving.process.running_endpoints import read_running

    return examine(read_running(), options.repository)


def _of_url(options: argparse.Namespace) -> Verdict:
    parts = urlsplit(options.url if "//" in options.url else f"//{options.url}")
    if not parts.hostname or not parts.port:
        raise StageError(f"--url {options.url!r} has no host and port: write it as http://127.0.0.1:8000")
    address = f"{parts.hostname}:{parts.port}"
    rpc = address if options.api == "oip-grpc" else options.grpc
    subject = find_subject(options.api, address, rpc, options.artifact, options.repository)
    return run(options.api, subject, f"{address}/{options.artifact}")


if __name__ == "__main__":
    sys.exit(main())
