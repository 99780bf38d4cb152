"""JSON of the REST API: `reader` parses, `predict` and `predict_fast` make tensors, `responses` writes.

`value` knows what is asked of parsed values. Nothing here imports anything above it in this list.
"""
