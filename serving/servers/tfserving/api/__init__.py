"""TensorFlow Serving's REST and gRPC APIs over a `Library` of versions."""
