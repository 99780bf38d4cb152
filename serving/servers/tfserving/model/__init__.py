"""Versions of SavedModels, from the folder on the disk to the run. Who holds whom:

    Library (versions.py)       the models of the configuration, over the one model host: which versions are served
      Servable (servable.py)    one version in service: its session, and an execution for each of its signatures
        Execution (execution.py)  the queue of one signature: alone or together, where and when its requests run
        Session (session.py)      the TensorFlow session and its prepared calls, which a run ends in

Beside them: `signatures` (inputs, outputs, types), `model_configs` (what is to be served), `batching_proof` (what the
manifest says of joining requests), `rank_guard` (keeps the process alive), `tensor_protos` (gRPC's tensors).
"""
