"""What every worker speaks: one request, then one answer a message, over an inherited pipe.

    python SCRIPT.py FD      FD is one end of a `multiprocessing.Pipe`

The first message is a request, a dictionary; its `do` is `prepare` (write files, answer facts, end) or `open` (answer
facts, then calls). Every later message is passed to the opened call, until None asks for the peak memory and the end.
Whatever goes wrong is answered as `{"error": ...}`. This file runs in each peer's own environment and imports
nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Request = dict[str, Any]
Facts = dict[str, Any]
Call = Callable[[Any], dict[str, Any]]
Prepare = Callable[[Request], Facts]
Open = Callable[[Request], tuple[Call, Facts]]


def timed(whole: float, network: float | None, class_map: Any) -> dict[str, Any]:
    """A contender's answer to one image.

    Args:
        whole: seconds from the uint8 image in memory to the class map in the image's size.
        network: seconds of the network alone; None where a contender does not part the two.
        class_map: [H, W] in the image's size, of any integer type.
    """
    return {"whole": whole, "network": network, "map": class_map.astype("uint8")}


def serve(open_: Open, prepare: Prepare | None = None) -> None:
    """Answer the process that started this one until it is done or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the benchmark's to handle
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with connection, contextlib.suppress(EOFError, BrokenPipeError):
        try:
            _serve(connection, open_, prepare)
        except (EOFError, BrokenPipeError):  # nobody is there to tell
            raise
        except Exception as error:
            traceback.print_exc()
            connection.send({"error": _in_a_line(error)})


def _serve(connection: Connection[Any, Any], open_: Open, prepare: Prepare | None) -> None:
    request: Request = connection.recv()
    if request["do"] == "prepare":
        connection.send(prepare(request) if prepare else {})
        return
    call, facts = open_(request)
    connection.send(facts)
    while (message := connection.recv()) is not None:
        connection.send(call(message))
    connection.send({"peak_memory": peak_memory_bytes()})


def peak_memory_bytes() -> int:
    """Peak resident size of this process: VmHWM, which starts anew with the program; elsewhere getrusage's figure."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
