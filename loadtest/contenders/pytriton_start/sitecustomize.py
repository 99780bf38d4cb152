"""Lets Triton's own interpreter run a newer standard library than its own; found by Python on its PYTHONPATH.

PyTriton's 3.11 stub carries an interpreter whose lock has no `_recursion_count`, which multiprocessing of 3.11.7 asks
for: the lock of its resource tracker becomes the standard library's own, which has it.
"""

import threading
from multiprocessing import resource_tracker

if not hasattr(threading.RLock(), "_recursion_count") and hasattr(threading._RLock, "_recursion_count"):
    resource_tracker._resource_tracker._lock = threading._RLock()
