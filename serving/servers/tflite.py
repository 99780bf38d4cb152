"""TensorFlow Lite (LiteRT) behind the Open Inference Protocol v2, REST and gRPC.

python -m serving.servers.tflite --model-repository artifacts/mnist/model_repository
"""

from __future__ import annotations

import sys

from serving.oip.server import OipServer

SERVER = OipServer("tflite", "tflite", "ai_edge_litert", rest_port=8010, grpc_port=8011)

if __name__ == "__main__":
    from serving.oip.program import main

    sys.exit(main(SERVER))
