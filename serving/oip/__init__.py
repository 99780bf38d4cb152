"""The Open Inference Protocol (KServe v2) over REST, binary REST and gRPC, and a client of it."""
