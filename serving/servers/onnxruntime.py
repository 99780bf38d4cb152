"""ONNX Runtime behind the Open Inference Protocol v2, REST and gRPC.

python -m serving.servers.onnxruntime --model-repository artifacts/mnist/model_repository
"""

from __future__ import annotations

import sys

from serving.oip.server import OipServer

SERVER = OipServer("onnxruntime", "onnx", "onnxruntime", rest_port=8000, grpc_port=8001)

if __name__ == "__main__":
    from serving.oip.program import main

    sys.exit(main(SERVER))
