"""The C++ runtime's TensorRT backend, where there is no GPU.

Its source is compiled against declarations of our own (test_tensorrt_headers.py), run on a stand-in for a GPU
(runtime/tests/tensorrt/stand_in.hpp says what that shows, and what it cannot), linked with the real TensorRT for RTX,
and what it says is compared with what Python says in the same place.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from segexport.bundle import Bundle, EngineFacts, Manifest, PlanFacts
from segexport.errors import EngineUnavailable, SegexportError
from segexport.spec import Contract, Labels, Preprocessing, Source
from segexport.tensorrt import device, loading
from segexport.tensorrt.device import Gpu, gpus
from segexport.tensorrt.flavour import FLAVOURS, RTX
from tests.support.runtime import RUNTIME
from tests.support.tensorrt_backend import BACKEND, STAND_IN, STRICT, done, includes, tool, toolkit
from tests.support.tensorrt_headers import cuda_headers, tensorrt_headers

ROOT = RUNTIME.parent
ARCHITECTURES = ["75", "80", "86", "87", "89", "90", "110", "120"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda.so.1 that finds two GPUs, or what the environment tells it."""
    folder = tmp_path_factory.mktemp("driver")
    source = ROOT / "tests" / "tensorrt" / "libcuda.c"
    done(tool("gcc"), "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source)
    return folder


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that says what the backend says."""
    program = tmp_path_factory.mktemp("said") / "said"
    sources = [STAND_IN / "said.cpp", BACKEND / "driver.cpp", BACKEND / "fitness.cpp"]
    done(tool("g++"), *STRICT, *includes(), *sources, "-ldl", "-o", program)
    return program


@pytest.mark.parametrize(
    ("version", "sanitizers"),
    [("10.3", None), pytest.param("11.1", "address,undefined", marks=pytest.mark.slow)],
)
def test_every_step_on_a_stand_in(version: str, sanitizers: str | None, driver: Path, tmp_path: Path) -> None:
    """The oldest version, and with sanitizers the newest."""
    compiler = tool("g++")
    headers = includes(tensorrt_headers(version, tmp_path / version), cuda_headers(tmp_path / "cuda"))
    sources = [*sorted(BACKEND.glob("*.cpp")), RUNTIME / "src" / "image.cpp"]
    sanitized: list[str] = []
    if sanitizers is None:  # all in one: standard headers are most of what a file costs
        whole = tmp_path / "backend.cpp"
        whole.write_text("".join(f'#include "{source}"\n' for source in sources))
        sources = [whole]
    else:
        sanitized = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    objects = []
    for source in sources:
        objects.append(tmp_path / f"{source.stem}.o")
        done(compiler, *STRICT, *headers, *sanitized, "-c", source, "-o", objects[-1])
    for name in ("flow", "cudart", "nvinfer", "kernels"):
        objects.append(tmp_path / f"stand-in-{name}.o")
        done(compiler, "-std=c++17", *headers, *sanitized, "-c", STAND_IN / f"{name}.cpp", "-o", objects[-1])
    done(compiler, *sanitized, *objects, "-ldl", "-o", tmp_path / "flow")
    env = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    printed = done(tmp_path / "flow", tmp_path / "bundle", env=env)
    assert re.fullmatch(r"\d{3} calls failed in turn\n", printed)


def what_cpp_finds(said: Path, libraries: Path, **told: str) -> tuple[list[str], str]:
    env = {**os.environ, "LD_LIBRARY_PATH": str(libraries), **told}
    *found, why = done(said, "driver", env=env).removesuffix("\n").split("\n")
    return found, why


def what_python_finds(libraries: Path, **told: str) -> tuple[list[str], str]:
    code = (
        "from segexport.tensorrt import device as d\n"
        "for g in d.gpus():\n"
        "    major, minor = g.compute_capability\n"
        "    print(g.index, g.name, major, minor, g.memory_bytes, g.device, g, sep='|')\n"
        "print(d.why_none())"
    )
    env = {**os.environ, "LD_LIBRARY_PATH": str(libraries), **told}
    *found, why = done(sys.executable, "-c", code, env=env, cwd=ROOT).removesuffix("\n").split("\n")
    return found, why


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"TOLD_COUNT": "0"},
        {"TOLD_COUNT": "0", "CUDA_VISIBLE_DEVICES": ""},
        {"TOLD_INIT": "100", "CUDA_VISIBLE_DEVICES": "7"},
        {"TOLD_INIT": "100"},
        {"TOLD_INIT": "34"},
        {"TOLD_INIT": "803"},
        {"TOLD_INIT": "999"},
        {"TOLD_INIT": "3"},
    ],
    ids=str,
)
def test_it_says_of_a_driver_what_python_says(
    told: dict[str, str], said: Path, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found, why = what_cpp_finds(said, driver, **told)
    assert (found, why) == what_python_finds(driver, **told)
    assert bool(found) != bool(why)
    assert len(found) == (0 if told else 2)


def test_it_says_of_no_driver_what_python_says(said: Path, tmp_path: Path) -> None:
    assert what_cpp_finds(said, tmp_path) == what_python_finds(tmp_path)


def test_a_driver_that_is_no_library(said: Path, tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("no library")
    assert what_cpp_finds(said, tmp_path) == what_python_finds(tmp_path)


@pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "GPU", ""])
def test_the_gpu_that_a_device_names(name: str, said: Path, driver: Path) -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    expected = "1|NVIDIA Other" if name == "cuda:1" else "0|NVIDIA One"
    assert done(said, "named", name, "tensorrt", env=env).startswith(expected)


def test_a_device_that_is_not_there(said: Path, driver: Path, tmp_path: Path) -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": str(driver)}
    assert done(said, "named", "cuda:7", "tensorrt", env=env) == (
        "EngineUnavailable tensorrt has no device cuda:7 here: name one of cuda:0 (NVIDIA One), cuda:1 (NVIDIA Other)\n"
    )
    if gpus():
        return
    with pytest.raises(EngineUnavailable) as caught:
        device.gpu_named(None, "tensorrt")
    assert done(said, "named", "", "tensorrt") == f"EngineUnavailable {caught.value}\n"


@pytest.mark.parametrize(("has", "needs"), [(13000, 12080), (12080, 12090), (12080, 13000), (0, 13000)])
def test_a_driver_that_is_too_old(has: int, needs: int, said: Path) -> None:
    ours, theirs = done(said, "older", has, needs).strip(), device.older_driver(has, needs)
    assert bool(ours) == bool(theirs)
    assert ours.split(" is older than ")[0] == theirs.split(" is older than ")[0]
    assert "\n" not in ours


ORIN = {"capability": "8.7", "gpu": "Orin", "built_system": "Linux aarch64"}
"""A plan's facts, as `said` takes them."""
HERE = {"here_system": "Linux aarch64", "here": "10.3.0.26", "here_gpu": "Orin", "here_capability": "8.7"}
ADA = {"target": "sm89", "built_system": "Linux x86_64", "engine": "tensorrt-rtx", "built": "1.7.1.116"}
ADA_HERE = {"here_system": "Linux x86_64", "here": "1.7.1.116", "here_gpu": "NVIDIA L4", "here_capability": "8.9"}


@pytest.mark.parametrize(
    ("facts", "fits"),
    [
        ({**ORIN, **HERE}, True),
        ({**ORIN, **HERE, "here_system": "Linux x86_64"}, False),
        ({**ORIN, **HERE, "here": "10.13.3.9"}, False),
        ({**ORIN, **HERE, "here": "10.13.3.9", "built": "10.13.3.9"}, True),
        ({**ORIN, **HERE, "here": "10.13.3.9", "version_compatible": "1"}, True),
        ({**ORIN, **HERE, "here": "10.2.0.0", "version_compatible": "1"}, False),
        ({**ORIN, **HERE, "here": "11.1.0.106", "version_compatible": "1"}, False),
        ({**ORIN, **HERE, "here_gpu": "NVIDIA L4", "here_capability": "8.9"}, False),
        ({**ORIN, **HERE, "here_gpu": "NVIDIA L4", "here_capability": "8.9", "ampere_plus": "1"}, True),
        ({**ORIN, **HERE, "here_gpu": "NVIDIA T4", "here_capability": "7.5", "ampere_plus": "1"}, False),
        ({**ORIN, **ADA_HERE}, False),
        ({**ORIN, **HERE, "none": "1"}, False),
        ({**ADA, **ADA_HERE}, True),
        ({**ADA, **ADA_HERE, "here_gpu": "NVIDIA T4", "here_capability": "7.5"}, False),
        ({**ADA, **ADA_HERE, "here": "1.8.0.10"}, False),
        ({**ADA, **ADA_HERE, "here": "1.8.0.10", "version_compatible": "1"}, False),
        ({**{key: value for key, value in ADA.items() if key != "target"}, **ADA_HERE}, True),
    ],
)
def test_it_says_of_a_plan_what_python_says(facts: dict[str, str], fits: bool, said: Path, tmp_path: Path) -> None:
    facts = {"engine": "tensorrt", "built": "10.3.0", "folder": str(tmp_path), **facts}
    where, *rest = done(said, "plan", *(f"{key}={value}" for key, value in facts.items())).splitlines()
    bundle, gpu = python_bundle(facts), python_gpu(facts)
    flavour = FLAVOURS[facts["engine"]]
    assert where == loading.runs_on(bundle)
    here = ".".join(facts["here"].split(".")[: facts["built"].count(".") + 1])
    if fits:
        loading.require_same(bundle, flavour, here, gpu, facts["here_system"])
        assert rest == []
        return
    with pytest.raises(SegexportError) as caught:
        loading.require_same(bundle, flavour, here, gpu, facts["here_system"])
    assert rest == [f"{caught.type.__name__} {caught.value}"]


@pytest.mark.parametrize(
    "messages",
    [
        ["Version tag does not match."],
        [],
        ["first", "CUDA error: out of memory\n  here"],
        ["first", "plan.header.size == blobSize failed."],
        ["IRuntime: MagicTag  " + "x" * 500],
    ],
    ids=["other", "nothing", "memory", "cut", "long"],
)
def test_it_says_of_a_refused_plan_what_python_says(messages: list[str], said: Path, tmp_path: Path) -> None:
    facts = {"engine": "tensorrt", "built": "10.3.0", "folder": str(tmp_path), **ORIN, **HERE, "refused": "1"}
    given = [f"{key}={value}" for key, value in facts.items()] + [f"said={one}" for one in messages]
    error = loading._refused(python_bundle(facts), python_gpu(facts), messages)
    assert done(said, "plan", *given).splitlines()[1:] == [f"{type(error).__name__} {error}"]


def python_bundle(facts: dict[str, str]) -> Bundle:
    """What `said` makes of the same facts."""
    options: dict[str, object] = {"version_compatible": True} if "version_compatible" in facts else {}
    if "ampere_plus" in facts:
        options["hardware_compatibility"] = "ampere-plus"
    plan = PlanFacts(
        (facts["target"],) if "target" in facts else (),
        facts.get("capability"),
        facts.get("gpu"),
        facts["built_system"],
        (),
        options,
        "0" * 64,
    )
    engine = EngineFacts(facts["engine"], facts["built"], "GPU", "", plan=None if "none" in facts else plan)
    manifest = Manifest(
        "0",
        Source("x", None, "0" * 64),
        "fp16",
        Contract((512, 512), mask_size=(512, 512)),
        Preprocessing(),
        Labels(("a",), ((0, 0, 0),)),
        engine,
        (),
        {},
        {},
    )
    return Bundle(Path(facts["folder"]), manifest)


def python_gpu(facts: dict[str, str]) -> Gpu:
    major, minor = facts["here_capability"].split(".")
    return Gpu(0, facts["here_gpu"], (int(major), int(minor)), 0)


def build(folder: Path, headers: Path, *options: str) -> str:
    """The runtime with this backend alone; returns what CMake said when it configured."""
    json = ROOT / ".venv" / "lib"
    found = sorted(json.glob("python3*/site-packages/nlohmann_json/include"))
    configured = done(
        *(tool("cmake"), "-S", RUNTIME, "-B", folder, f"-DTensorRT_ROOT={headers}"),
        *("-DSEGEXPORT_TENSORRT=ON", "-DSEGEXPORT_OPENVINO=OFF", "-DSEGEXPORT_WERROR=ON"),
        *("-DSEGEXPORT_EXAMPLES=OFF", "-DSEGEXPORT_TESTS=OFF"),
        *([f"-DSEGEXPORT_JSON_INCLUDE={found[0]}"] if found else []),
        *options,
    )
    done("cmake", "--build", folder, "-j", "1")
    return configured


def real_rtx() -> Path:
    """The library in TensorRT for RTX's wheel."""
    libraries = pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT for RTX is not installed")
    return next(Path(libraries.__path__[0]).glob("libtensorrt_rtx.so.*"))


@pytest.mark.slow
def test_kernels_for_every_gpu_and_the_real_library(tmp_path: Path) -> None:
    """nvcc for every architecture; then a program that is linked with TensorRT for RTX says what Python says here.

    The program has the library's functions, and our declarations of its classes, which are laid out otherwise: it sees
    no GPU, so that it calls none of them.
    """
    tool("nvcc")
    cuda, library = toolkit(), real_rtx()
    headers = tensorrt_headers("rtx-1.7", tmp_path / "headers")
    build(tmp_path / "build", headers, f"-DSEGEXPORT_TENSORRT_LIBRARY={library}")
    known = done("nvcc", "--list-gpu-arch")
    wanted = [one for one in ARCHITECTURES if f"compute_{one}\n" in known]
    cache = (tmp_path / "build" / "CMakeCache.txt").read_text()
    assert f"CMAKE_CUDA_ARCHITECTURES:STRING={';'.join(wanted)}" in cache
    objects = list((tmp_path / "build").rglob("kernels.cu.o"))
    assert len(objects) == 1
    for one in wanted:
        assert f"sm_{one}".encode() in objects[0].read_bytes()
    program = tmp_path / "opening"
    done(
        *(tool("g++"), *STRICT, "-DSEGEXPORT_TENSORRT_RTX", *includes(headers, cuda / "include")),
        *(STAND_IN / "opening.cpp", tmp_path / "build" / "libsegexport.a", library, f"-Wl,-rpath,{library.parent}"),
        *(f"-L{cuda / 'lib'}", f"-L{cuda / 'lib64'}", "-lcudart_static", "-ldl", "-lrt", "-lpthread"),
        *("-o", program),
    )
    libraries = Path(os.environ.get("LD_LIBRARY_PATH", ""))
    _, why = what_python_finds(libraries, CUDA_VISIBLE_DEVICES="")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    printed = done(program, tmp_path, "tensorrt-rtx", RTX.version(), "sm89", env=env).strip()
    assert printed == (
        f"tensorrt-rtx cannot run here: {why}; the bundle itself is whole: it runs on a machine with sm89"
    )
    classic = done(program, tmp_path, "tensorrt", "10.3.0", env=env).strip()
    assert classic.startswith(f"{tmp_path} is for tensorrt, and this build of the runtime has tensorrt-rtx: ")


@pytest.mark.slow
def test_headers_alone_make_the_library(tmp_path: Path) -> None:
    tool("nvcc")
    toolkit()
    headers = tensorrt_headers("10.3", tmp_path / "headers")
    said_so = build(tmp_path / "build", headers, "-DCMAKE_CUDA_ARCHITECTURES=87")
    assert "headers without a library" in said_so
    assert (tmp_path / "build" / "libsegexport.a").exists()
