"""`python -m serving.servers.tfserving`: TensorFlow Serving's REST and gRPC APIs, its flags, its files, in Python.

It stands in where the genuine `tensorflow_model_server` is not to be had: the same requests get the same answers. On
purpose it does better where the genuine server hurts; `docs/tfserving.md` has the table of differences. Run it with
--help for the flags. With `--workers` several processes share the ports; each finds versions by itself, and
HandleReloadConfigRequest is refused: change the file instead. The metrics are those of all of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from contract import StageError
from serving.process.prefork import run_workers
from serving.servers.tfserving.flags import Flags, help_text, parse_flags
from serving.servers.tfserving.metrics import Telemetry


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; 2 for a mistake on the command line, 255 where a model can't be served."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("--help", "-h", "-help") for argument in arguments):
        print(f"{__doc__}\n{help_text()}")
        return 0
    try:
        flags = parse_flags(arguments)
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    telemetry = Telemetry(flags.workers)
    if flags.workers > 1 and not flags.version:
        supervisor = os.getpid()
        return run_workers(flags.workers, lambda worker: _serve(flags, telemetry, worker, supervisor))
    return _serve(flags, telemetry, 0, os.getppid())


def _serve(flags: Flags, telemetry: Telemetry, worker: int, parent: int) -> int:
    from serving.servers.tfserving.program import run  # TensorFlow starts threads: after the fork

    telemetry.use_slab(worker)
    return run(flags, telemetry, parent)


if __name__ == "__main__":
    sys.exit(main())
