"""What HTTP/2 adds below gRPC: frames and header compression. https://www.rfc-editor.org/rfc/rfc9113"""
