"""Bytes of the network: HTTP/1.1, HTTP/2 and gRPC servers that know nothing about models."""
