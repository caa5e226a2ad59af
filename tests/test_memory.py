"""What is given back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FREED = """
import sys
from segexport import memory

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

if sys.argv[1] == "ours":
    memory.claim_process()
if sys.argv[1] != "kept":
    memory.give_freed_memory_back()
large = bytearray(32 << 20)
del large  # from here on, glibc keeps blocks of this size in its heap
blocks = [bytearray(b"x" * (1 << 20)) for _ in range(200)]
before = resident()
del blocks[::2]
if sys.argv[1] == "trimmed":
    memory.give_freed_memory_back()
print((before - resident()) // 1024)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator this tells")
def test_freed_memory_is_given_back() -> None:
    """A hundred megabytes in pieces: kept by default, which shows that the test can fail, and given back when asked."""
    kept, trimmed, ours = (
        int(subprocess.run([sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "trimmed", "ours")
    )
    assert kept < 50
    assert trimmed > 90
    assert ours > 90
