"""Triton's own front end with its dynamic batcher, from PyTriton; for the servers' benchmark, in its own environment.

python pytriton_app.py <REST port> <gRPC port> <metrics port> <model.onnx> <model name> <folder to work in>
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main(rest, grpc, metrics, model, name, folder):  # noqa: ANN001, ANN201 - runs outside of the checks
    """Serve until killed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0], session.get_outputs()[0]

    @batch
    def infer(**inputs):  # noqa: ANN003, ANN202
        return {target.name: session.run(None, {source.name: inputs[source.name]})[0]}

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(rest),
        grpc_address="127.0.0.1",
        grpc_port=int(grpc),
        metrics_port=int(metrics),
    )
    with Triton(config=config, workspace=Path(folder) / "workspace") as triton:
        triton.bind(
            model_name=name,
            infer_func=infer,
            inputs=[Tensor(name=source.name, dtype=np.float32, shape=tuple(source.shape[1:]))],
            outputs=[Tensor(name=target.name, dtype=np.float32, shape=tuple(target.shape[1:]))],
            config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
