"""Import TensorFlow without the greetings that its libraries write to stderr; anything else they write is passed on.

from training.quiet_tensorflow import keras, tf
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

GREETINGS = re.compile(rb"WARNING: All log messages before absl|I0000 |.*cpu_feature_guard|To enable the following")


@contextmanager
def without_greetings() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, and pass it on at the end without the greetings."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not GREETINGS.match(line):
                    os.write(2, line)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the library is loaded
with without_greetings():
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
