#!/usr/bin/env bash
# One expects that two models compiled for one CPU thread each, and called from two threads of a process, run on two
# cores of a machine that has two.
#
# What really happens: OpenVINO pins the thread that calls a model to a core for the time of the call, and counts cores
# for each model from the first one on. So both callers are pinned to core 0 and take turns there, while other cores are
# idle. It is the default (ENABLE_CPU_PINNING). With pinning off the callers may run anywhere.
#
# Versions seen: OpenVINO 2026.4.1 and 2025.4.1, NumPy 2.2.6, Python 3.11, x86-64 Linux with two cores. Needs Linux and
# at least two cores.
#
# Output seen with 2026.4.1, on cores 0 and 1:
#
#     pinning by default: the two callers were allowed on cores 0 and 0
#     pinning off: the two callers were allowed on cores 0-1 and 0-1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"

cat >"$folder/program.py" <<'PYTHON'
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op

IMAGE = np.ones((1, 64, 128, 128), np.float32)


def model():
    """Six convolutions: a call takes long enough to look at its thread meanwhile."""
    image = output = op.parameter(IMAGE.shape, np.float32)
    for _ in range(6):
        weights = op.constant(np.ones((64, 64, 3, 3), np.float32))
        output = op.convolution(output, weights, [1, 1], [1, 1], [1, 1], [1, 1])
    return ov.Model([output], [image])


def callers_cores(settings):
    """The cores that each of two callers was allowed on, most of the time that they called."""
    requests = []
    for _ in range(2):
        compiled = ov.Core().compile_model(model(), "CPU", {"INFERENCE_NUM_THREADS": 1, **settings})
        requests.append(compiled.create_infer_request())
        requests[-1].infer([IMAGE])
    stop = threading.Event()

    def call(request):
        while not stop.is_set():
            request.infer([IMAGE])

    threads = [threading.Thread(target=call, args=(request,)) for request in requests]
    seen = {}
    for thread in threads:
        thread.start()
        seen[thread.native_id] = Counter()
    for _ in range(150):
        time.sleep(0.02)
        for thread, counter in seen.items():
            status = Path(f"/proc/self/task/{thread}/status").read_text()
            counter[status.partition("Cpus_allowed_list:")[2].split()[0]] += 1
    stop.set()
    for thread in threads:
        thread.join()
    return [counter.most_common(1)[0][0] for counter in seen.values()]


cores = os.sched_getaffinity(0)
if len(cores) < 2:
    sys.exit("this needs two cores")
off = {"ENABLE_CPU_PINNING": False}
name, settings = ("off", off) if sys.argv[1] == "off" else ("by default", {})
found = callers_cores(settings)
print(f"pinning {name}: the two callers were allowed on cores {found[0]} and {found[1]}")
on_one_core = found[0] == found[1] and found[0].isdecimal()
if on_one_core == bool(settings):
    sys.exit(f"CHANGED: with pinning {name} the callers were allowed on {found[0]} and {found[1]}.")
PYTHON

for version in 2026.4.1 2025.4.1; do
    "$python" -m pip install --quiet --disable-pip-version-check numpy==2.2.6 "openvino==$version"
    echo "OpenVINO $version"
    for what in default off; do "$python" "$folder/program.py" "$what"; done
done
