"""Lets Triton's own interpreter run a newer standard library than its own; its environment's `sitecustomize`.

PyTriton's stub for 3.11 carries Python 3.11.2, whose lock has no `_recursion_count`, and runs the standard library that
it finds; multiprocessing of 3.11.7 asks for it. The lock of its resource tracker becomes the one written in Python.
"""

import threading
from multiprocessing import resource_tracker

if not hasattr(threading.RLock(), "_recursion_count") and hasattr(threading._RLock, "_recursion_count"):
    resource_tracker._resource_tracker._lock = threading._RLock()
