"""TensorFlow Serving's JSON: reading predict requests, writing answers and errors."""
