"""LitServe with its recommended batching, for the servers' benchmark; run by its own virtual environment.

python litserve_app.py <port> <model.onnx>
"""

import sys

import litserve
import numpy as np
import onnxruntime


class Api(litserve.LitAPI):
    """Takes the JSON of the Open Inference Protocol and answers in its form."""

    def setup(self, device):  # noqa: ANN001, ANN201 - LitServe's signature
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name
        self.shape = self.session.get_inputs()[0].shape[1:]

    def decode_request(self, request):  # noqa: ANN001, ANN201
        return np.asarray(request["inputs"][0]["data"], np.float32).reshape(self.shape)

    def batch(self, inputs):  # noqa: ANN001, ANN201
        return np.stack(inputs)

    def predict(self, batch):  # noqa: ANN001, ANN201
        return self.session.run(None, {self.name: batch})[0]

    def unbatch(self, output):  # noqa: ANN001, ANN201
        return list(output)

    def encode_response(self, output):  # noqa: ANN001, ANN201
        return {"outputs": [{"data": output.tolist()}]}


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="error")
