"""Requests and connections of the load test: bytes, HTTP/1.1, gRPC. Uses no gevent."""
