"""Published protocol cases, put to any server: what it must do, should do, and does where the protocol is silent."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m serving conformance`."""
    from serving.conformance.__main__ import main as run_main

    return run_main(argv)
