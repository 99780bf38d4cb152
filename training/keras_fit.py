"""The mode `fit` of the TensorFlow twin: the same step under `keras.fit`, which brings its own loop and graph."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from training.quiet_tensorflow import keras
from training.trained import with_bar


class Fitted(keras.Model):  # type: ignore[misc]
    """A Keras model whose training step is the given one."""

    def __init__(self, step: Callable[..., Any]) -> None:
        super().__init__()
        self.step, self.losses_seen, self.rights_seen = step, keras.metrics.Mean("loss"), keras.metrics.Sum("right")
        self.compile()

    def train_step(self, data: Any) -> dict[str, Any]:
        """Do one step; Keras calls it."""
        loss, right = self.step(*data)
        self.losses_seen.update_state(loss)
        self.rights_seen.update_state(right)
        return {"loss": self.losses_seen.result(), "right": self.rights_seen.result()}

    def train_epoch(self, batches: Callable[..., Any], order: np.ndarray, title: str) -> tuple[float, float, float]:
        """Run the images in this order; return the mean loss over the steps, the accuracy 0…1 and the seconds."""
        started = time.perf_counter()
        bar = Bar(title)
        figures = self.fit(batches(order), verbose=0, shuffle=False, callbacks=[bar]).history
        return figures["loss"][0], figures["right"][0] / len(order), time.perf_counter() - started


class Bar(keras.callbacks.Callback):  # type: ignore[misc]
    """The project's progress bar, moved by Keras."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.bar = with_bar(itertools.count(), title)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count a step; Keras sets the signature."""
        next(self.bar)
