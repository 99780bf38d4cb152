"""BentoML with adaptive batching, for the servers' benchmark; run by its own virtual environment.

MODEL=model.onnx bentoml serve bentoml_app:Model --port <port>
"""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 256})
class Model:
    """Takes `{"image": nested list}` and answers with a nested list."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=32, max_latency_ms=1000)
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Run a batch."""
        return self.session.run(None, {self.name: image.astype(np.float32)})[0]
