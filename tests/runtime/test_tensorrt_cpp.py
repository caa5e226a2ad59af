"""The C++ runtime's TensorRT backend, where there is no GPU.

Its source is compiled against NVIDIA's headers, run on a stand-in for a GPU (runtime/tests/tensorrt/stand_in.hpp says
what that shows, and what it cannot), linked with the real TensorRT for RTX, and what it says is compared with what
Python says in the same place.

NVIDIA's headers are in `../shared/tensorrt-headers` beside the checkout, a folder for each version, or where the
environment variable TENSORRT_HEADERS says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segexport.bundle import Bundle, EngineFacts, Manifest, PlanFacts
from segexport.errors import EngineUnavailable, SegexportError
from segexport.spec import Contract, Labels, Preprocessing, Source
from segexport.tensorrt import device, loading
from segexport.tensorrt.device import Gpu, gpus
from segexport.tensorrt.flavour import FLAVOURS, RTX

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "runtime"
BACKEND = RUNTIME / "src" / "tensorrt"
OURS = RUNTIME / "tests" / "tensorrt"
HEADERS = Path(os.environ.get("TENSORRT_HEADERS", ROOT.parent / "shared" / "tensorrt-headers"))

STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror"]
DEFAULT = "v10.13.3"
VERSIONS = ["v10.3.0", DEFAULT, "v11.1"]
ARCHITECTURES = ["75", "80", "86", "87", "89", "90", "110", "120"]

slow_but_one = [
    version if version == DEFAULT else pytest.param(version, marks=pytest.mark.slow) for version in VERSIONS
]


def tool(name: str) -> str:
    """A program's path."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def tensorrt(version: str) -> Path:
    """The folder of a TensorRT's headers."""
    folder = HEADERS / version / "include"
    if not (folder / "NvInferRuntime.h").exists():
        pytest.skip(f"no TensorRT headers in {folder}: set TENSORRT_HEADERS")
    return folder


def cuda() -> Path:
    """The CUDA toolkit's folder."""
    for folder in [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]:
        if folder and (Path(folder) / "include" / "cuda_runtime_api.h").exists():
            return Path(folder)
    pytest.skip("no CUDA headers: install the toolkit, or set CUDA_HOME")


def done(*command: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    words = list(map(str, command))
    ran = subprocess.run(words, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    assert ran.returncode == 0, ran.stderr[-4000:] + ran.stdout[-4000:]
    return ran.stdout


def includes(*system_folders: Path) -> list[str]:
    """Compiler's options for our headers, and for others' whose warnings are not ours."""
    ours = [f"-I{folder}" for folder in (RUNTIME / "include", RUNTIME / "src", RUNTIME / "tests", OURS)]
    return ours + [option for folder in system_folders for option in ("-isystem", str(folder))]


def stubs(header: Path) -> str:
    """Classes that implement NvInferImpl.h's interfaces by aborting: what the stand-in does not override."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    lines = ["#include <cstdlib>", "namespace nvinfer1 {"]
    for name in ("Runtime", "CudaEngine", "ExecutionContext"):
        found = re.search(rf"class V{name} : public VRoot\s*\{{(.*?)\n\}};", text, re.DOTALL)
        assert found, f"no V{name} in {header}"
        functions = re.findall(r"virtual ([^;]*?) noexcept = 0;", found[1])
        assert len(functions) > 15
        bodies = [f"    {' '.join(one.split())} noexcept override {{ std::abort(); }}" for one in functions]
        lines += [f"struct Stub{name} : apiv::V{name} {{", *bodies, "};"]
    return "\n".join([*lines, "}", ""])


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
    sources = [OURS / "said.cpp", BACKEND / "driver.cpp", BACKEND / "fitness.cpp"]
    done(tool("g++"), *STRICT, *includes(), *sources, "-ldl", "-o", program)
    return program


@pytest.mark.parametrize("version", slow_but_one)
def test_every_step_on_a_stand_in(version: str, driver: Path, tmp_path: Path) -> None:
    headers, toolkit, compiler = tensorrt(version), cuda(), tool("g++")
    (tmp_path / "stubs.hpp").write_text(stubs(headers / "NvInferImpl.h"))
    sanitizers = "address" if version == DEFAULT else "address,undefined"  # the latter doubles the time to compile
    sanitized = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    common = [*includes(tmp_path, headers, toolkit / "include"), *sanitized]
    objects = []
    for source in [*sorted(BACKEND.glob("*.cpp")), RUNTIME / "src" / "image.cpp"]:
        objects.append(tmp_path / f"{source.stem}.o")
        done(compiler, *STRICT, *common, "-c", source, "-o", objects[-1])
    for name in ("flow", "cudart", "nvinfer", "kernels"):
        objects.append(tmp_path / f"stand-in-{name}.o")
        done(compiler, "-std=c++17", *common, "-c", OURS / f"{name}.cpp", "-o", objects[-1])
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


def build(folder: Path, version: str, *options: str) -> str:
    """The runtime with this backend alone; returns what CMake said when it configured."""
    json = ROOT / ".venv" / "lib"
    found = sorted(json.glob("python3*/site-packages/nlohmann_json/include"))
    configured = done(
        tool("cmake"),
        *("-S", RUNTIME, "-B", folder, f"-DTensorRT_ROOT={tensorrt(version).parent}"),
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
    """nvcc for every architecture; then a program that is linked with TensorRT for RTX says what Python says here."""
    tool("nvcc")
    toolkit, library = cuda(), real_rtx()
    build(tmp_path / "build", "v11.1", f"-DSEGEXPORT_TENSORRT_LIBRARY={library}")
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
        *(tool("g++"), *STRICT, "-DSEGEXPORT_TENSORRT_RTX", *includes(tensorrt("v11.1"), toolkit / "include")),
        *(OURS / "opening.cpp", tmp_path / "build" / "libsegexport.a", library, f"-Wl,-rpath,{library.parent}"),
        *(f"-L{toolkit / 'lib'}", f"-L{toolkit / 'lib64'}", "-lcudart_static", "-ldl", "-lrt", "-lpthread"),
        *("-o", program),
    )
    printed = done(program, tmp_path, "tensorrt-rtx", RTX.version(), "sm89").strip()
    if gpus():
        pytest.skip(f"there is a GPU here, where it says: {printed}")
    assert printed == (
        f"tensorrt-rtx cannot run here: {device.why_none()}; the bundle itself is whole: it runs on a machine with sm89"
    )
    classic = done(program, tmp_path, "tensorrt", "10.3.0").strip()
    assert classic.startswith(f"{tmp_path} is for tensorrt, and this build of the runtime has tensorrt-rtx: ")


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_headers_alone_make_the_library(version: str, tmp_path: Path) -> None:
    tool("nvcc")
    cuda()
    said_so = build(tmp_path, version, "-DCMAKE_CUDA_ARCHITECTURES=87")
    assert "headers without a library" in said_so
    assert f'version "{version.removeprefix("v")}' in said_so
    assert (tmp_path / "libsegexport.a").exists()
