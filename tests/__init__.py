"""The tests. Each of pytest-xdist's workers keeps to its share of the cores.

Libraries that start a thread for every core otherwise wait, spinning, for cores on which another worker computes: a
training takes three times as long. Set before any of them is imported; what is set outside stays.
"""

from __future__ import annotations

import os

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
