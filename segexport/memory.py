"""How much memory this process has used, and giving back what it no longer uses."""

from __future__ import annotations

import sys
from pathlib import Path

_M_MMAP_THRESHOLD = -3  # malloc.h
_THRESHOLD = 256 << 10
_ours = False


def claim_process() -> None:
    """Say that no other program's code runs in this process, as the command line does when it starts."""
    global _ours
    _ours = True


def give_freed_memory_back() -> None:
    """Give what has been freed back to the system, which glibc otherwise mostly keeps; without glibc do nothing.

    In a process of our own what is freed from here on is given back at once, too. glibc maps blocks from a threshold
    on, and raises that with every larger one freed, up to 32 MiB: what is freed below stays in its heap, in pieces,
    such as the weights that ONNX Runtime has packed. The threshold is fixed here, which cannot be undone, and costs
    programs that allocate much and often (mallopt(3), M_MMAP_THRESHOLD; malloc_trim(3)).
    """
    import ctypes
    import gc

    gc.collect()  # a graph's nodes and values hold each other
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim") and hasattr(library, "mallopt"):
        library.malloc_trim(0)
        if _ours:
            library.mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)


def peak_memory_bytes() -> int:
    """Peak resident size of this process.

    On Linux VmHWM, which starts anew when a program is executed; getrusage's figure would include the memory of the
    process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
