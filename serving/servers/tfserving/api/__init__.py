"""TensorFlow Serving's REST and gRPC APIs: requests are read, checked, and queued by `inference`; answers written."""
