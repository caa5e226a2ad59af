"""C++ opens a bundle as Python does, and refuses it with the same words."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segexport.bundle import (
    MANIFEST,
    SCHEMA,
    SUMS,
    Bundle,
    EngineFacts,
    Manifest,
    PlanFacts,
    open_bundle,
    write_manifest,
)
from segexport.errors import SegexportError
from segexport.files import sha256_of
from segexport.spec import Contract, Labels, PassResult, Preprocessing, Source
from tests.support.edits import flip
from tests.support.manifests import edit_manifest, first_schema, reseal, second_schema

OUTPUTS = ("mask", "scores", "logits", "topk")
CLASS_MAPS = ("graph", "host", "device")


class Reader:
    """runtime/tests/bundle_reader.cpp, which answers a line with a line."""

    def __init__(self, program: Path, *mode: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program, *mode], stdin=pipe, stdout=pipe, text=True, encoding="utf-8")

    def __call__(self, path: str | Path) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().removesuffix("\n")

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def program(runtime_library: Path) -> Path:
    return runtime_library / "tests" / "bundle_reader"


@pytest.fixture
def cpp(program: Path) -> Iterator[Reader]:
    reader = Reader(program)
    yield reader
    reader.close()


def write_bundle(folder: Path, *, plan: bool = True, **contract) -> Path:
    """A bundle that is whole, around an engine and a graph that are none."""
    (folder / "golden").mkdir(parents=True)
    for name in ("model.onnx", "engine.onnx", "golden/image.png", *(["engine.plan"] if plan else [])):
        (folder / name).write_bytes(name.encode() * 300)
    rewrites = (PassResult("merge-qkv", "algebraic", ("a/MatMul",), ()),)
    options = {"version_compatible": True, "hardware_compatibility": "ampere-plus", "dla": 1}
    compiled = sha256_of(folder / "engine.onnx")
    facts = PlanFacts(("sm86", "sm89"), "8.7", "Orin (nvgpu)", "Linux aarch64", ("1x64x96",), options, compiled)
    manifest = Manifest(
        segexport="0.1.0",
        source=Source("nvidia/mit-b0", None, "0" * 64),
        precision="fp16",
        contract=Contract(**{"size": (64, 96), "mask_size": (64, 96), **contract}),
        preprocessing=Preprocessing(resample=3),
        labels=Labels(("road", "Straße", "sky"), ((128, 64, 128), (0, 255, 7), (70, 130, 180)), reduce=True),
        engine=EngineFacts(
            "tensorrt", "10.13.3.9", "cuda:0", "Orin", "device", rewrites, (), True, facts if plan else None
        ),
        rewrites=rewrites,
        golden={"seed": 1, "agreement_with_reference": 1.0, "engine_ran": False},
        versions={"python": "3.11.7"},
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "made")


def in_words(manifest: Manifest, schema: int) -> str:
    """As bundle_reader writes it."""
    contract, engine = manifest.contract, manifest.engine

    def size(value: tuple[int, int] | None) -> str:
        return "{}x{}".format(*(value or (0, 0)))

    def listed(values) -> str:
        return "".join(f"{value}|" for value in values)

    plan = ""
    if (facts := engine.plan) is not None:
        options = facts.options
        flags = options.get("version_compatible", False), options.get("hardware_compatibility") == "ampere-plus"
        known = (facts.compute_capability or "none", facts.gpu or "none", facts.system)
        dla = options.get("dla")
        plan = ";".join(
            [listed(facts.targets), *known, *(str(int(flag)) for flag in flags), str(-1 if dla is None else dla)]
        )
    values = {
        "schema": schema,
        "precision": manifest.precision,
        "size": size(contract.size),
        "batch": contract.batch,
        "bgr": int(contract.channel_order == "bgr"),
        "output": OUTPUTS.index(contract.output),
        "mask_size": size(contract.mask_size),
        "image_size": size(contract.image_size),
        "grid": f"{contract.grid.patch}/{contract.grid.stride}",
        "resample": manifest.preprocessing.resample,
        "names": listed(manifest.labels.names),
        "palette": listed(",".join(map(str, colour)) for colour in manifest.labels.palette),
        "reduce": int(manifest.labels.reduce),
        "engine": engine.name,
        "version": engine.version,
        "device": engine.device,
        "class_map": CLASS_MAPS.index(engine.class_map),
        "derived": int(engine.derived),
        "plan": plan,
    }
    return "\t".join(f"{name}={value}" for name, value in values.items())


def python(folder: str | Path) -> str:
    try:
        manifest = open_bundle(folder).manifest
    except SegexportError as error:
        return f"{type(error).__name__}: {error}"
    return in_words(manifest, json.loads((Path(folder) / MANIFEST).read_text())["schema"])


def no_class_map(manifest: dict) -> None:
    """Everything that may be missing."""
    del manifest["contract"]["batch"], manifest["contract"]["source_size"], manifest["preprocessing"]["resample"]
    del manifest["labels"]["reduce"], manifest["engine"]["plan"]
    manifest["engine"].update(class_map="host", derived=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: None,
        lambda m: m.update(schema=3),
        second_schema,
        lambda m: (second_schema(m), m["engine"]["rewrites"][0].update(rewritten=[])),
        first_schema,
        no_class_map,
        lambda m: m["contract"].update(batch=-1, channel_order="bgr", output="scores"),
        lambda m: m["contract"].update(output="topk", mask_size=None),
        lambda m: m["contract"].update(source_size=[120, 160], resize_mode="letterbox", mask_size=[16, 24]),
        lambda m: m["contract"].update(grid={"patch": 64, "stride": 1}),
        lambda m: m["contract"].update(grid={"stride": 3}),
        lambda m: m["contract"].pop("grid"),
        lambda m: m["engine"]["plan"].update(targets=[], compute_capability=None, gpu=None, options={}),
        lambda m: m["engine"].update(plan=None),
    ],
    ids=[
        "newest",
        "3",
        "2",
        "2, nothing derived",
        "1",
        "defaults",
        "scores",
        "topk",
        "letterbox",
        "grid",
        "grid's stride",
        "no grid",
        "plan of RTX",
        "CPU",
    ],
)
def test_reads_what_python_reads(folder: Path, cpp: Reader, change: Callable[[dict], object]) -> None:
    edit_manifest(folder, change)
    found = python(folder)
    assert found.startswith("schema=")
    assert cpp(folder) == found


@pytest.mark.bundle
def test_a_real_bundle(bundle: Bundle, cpp: Reader) -> None:
    assert cpp(bundle.folder) == python(bundle.folder)
    assert cpp(bundle.folder).startswith(f"schema={SCHEMA}\tprecision=fp32\tsize=64x96")


def unlist(folder: Path, name: str) -> None:
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / MANIFEST).unlink(), "is not a bundle"),
        (lambda f: (f / SUMS).unlink(), "has no SHA256SUMS"),
        (lambda f: flip(f / "model.onnx", 7), "is not the file that was built"),
        (lambda f: flip(f / MANIFEST, (f / MANIFEST).read_bytes().index(b"road")), "is not the file that was built"),
        (lambda f: shorten(f / "engine.plan"), "is not the file that was built"),
        (lambda f: shorten(f / "engine.onnx"), "is not the file that was built"),
        (lambda f: (f / "engine.plan").write_bytes(b""), "is not the file that was built"),
        (lambda f: (f / "golden" / "image.png").unlink(), "is missing, though"),
        (lambda f: (f / "engine.plan").unlink(), "is missing, though"),
        (lambda f: unlist(f, "model.onnx"), "does not list model.onnx"),
        (lambda f: unlist(f, MANIFEST), f"does not list {MANIFEST}"),
        (lambda f: unlist(f, "engine.onnx"), "does not list engine.onnx"),
        (lambda f: unlist(f, "engine.plan"), "does not list engine.plan"),
        (lambda f: (f / SUMS).write_text(""), "does not list model.onnx"),
        (lambda f: edit_manifest(f, lambda m: m.update(schema=SCHEMA + 1)), f"reads up to {SCHEMA}"),
        (lambda f: (f / SUMS).write_bytes((f / SUMS).read_bytes().replace(b"\n", b"\r\n")), f"schema={SCHEMA}"),
        (lambda f: (f / SUMS).write_bytes((f / SUMS).read_bytes() + b"\n"), "is missing, though"),
    ],
)
def test_refuses_with_pythons_words(
    folder: Path, cpp: Reader, damage: Callable[[Path], object], complaint: str
) -> None:
    damage(folder)
    assert complaint in cpp(folder)
    assert cpp(folder) == python(folder)


def test_what_is_no_bundle(tmp_path: Path, cpp: Reader, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file", f"{tmp_path}/./nowhere//", f"{tmp_path}/../nowhere", folder / SUMS):
        assert "is not a bundle" in cpp(path)
        assert cpp(path) == python(path)
    assert cpp(f"{folder}//") == python(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"schema": "four"}',
        '{"schema": null}',
        b'{"schema": 4, "a": "\xff"}',
        '{"schema": 4}}',
    ],
)
def test_a_manifest_that_cannot_be_read(folder: Path, cpp: Reader, text: str | bytes) -> None:
    """The reason in parentheses is the parser's own; all around it is the same."""
    (folder / MANIFEST).write_bytes(text if isinstance(text, bytes) else text.encode())
    same = re.compile(r"(BundleCorrupt: .*/segexport\.json cannot be read) \(.+\)(: build the bundle again)")
    found, wanted = same.fullmatch(cpp(folder)), same.fullmatch(python(folder))
    assert found is not None
    assert wanted is not None
    assert found.groups() == wanted.groups()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.pop("labels"), "labels is missing"),
        (lambda m: m["contract"].pop("size"), "contract.size is missing"),
        (lambda m: m.update(engine=[]), "engine is not an object"),
        (lambda m: m["engine"].pop("version"), "engine.version is missing"),
        (lambda m: m["engine"]["plan"].pop("system"), "engine.plan.system is missing"),
    ],
)
def test_a_manifest_that_does_not_follow_its_schema(
    folder: Path, cpp: Reader, change: Callable[[dict], object], named: str
) -> None:
    edit_manifest(folder, change)
    around = re.compile(
        r"(BundleCorrupt: .*/segexport\.json does not follow its schema) \((.+)\)(: build the bundle again)"
    )
    found, wanted = around.fullmatch(cpp(folder)), around.fullmatch(python(folder))
    assert found is not None
    assert wanted is not None
    assert (found[1], found[2], found[3]) == (wanted[1], named, wanted[3])


@pytest.mark.parametrize("bit", [0x01, 0x40])
def test_a_changed_bit_of_the_checksums(folder: Path, cpp: Reader, bit: int) -> None:
    """The same words wherever it is; but a name that cannot be a bundle's is refused, where Python looks for it."""
    original = (folder / SUMS).read_bytes()
    own = 0
    for position in range(0, len(original), 3):
        flip(folder / SUMS, position, bit)
        found = cpp(folder)
        assert found.startswith("BundleCorrupt: ")
        if re.search(r"SHA256SUMS lists '.*', which is no file of a bundle", found):
            own += 1
        else:
            assert found == python(folder), position
        (folder / SUMS).write_bytes(original)
    assert own <= len(original) // 20


def test_every_byte_of_a_manifest_counts(folder: Path, cpp: Reader) -> None:
    size = (folder / MANIFEST).stat().st_size
    for position in range(0, size, 23):
        flip(folder / MANIFEST, position)
        found = cpp(folder)
        assert found.startswith("BundleCorrupt: ")
        if " cannot be read (" not in found:
            assert found == python(folder), position
        flip(folder / MANIFEST, position)
    assert cpp(folder) == python(folder)


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside", "golden/../../outside", "./model.onnx"])
def test_a_name_that_leads_out_is_not_read(folder: Path, cpp: Reader, name: str) -> None:
    (folder.parent / "outside").write_text("outside")
    digest = hashlib.sha256(b"outside").hexdigest()
    with (folder / SUMS).open("a") as sums:
        sums.write(f"{digest}  {name}\n")
    assert cpp(folder) == (
        f"BundleCorrupt: {folder / SUMS} lists '{name}', which is no file of a bundle: copy or build the bundle again"
    )
    reseal(folder)
    assert cpp(folder) == python(folder)


def test_sha256_is_hashlibs(tmp_path: Path, program: Path) -> None:
    generator, reader = random.Random(8), Reader(program, "--sha256")
    for length in [*range(301), *(generator.randrange(1 << 22) for _ in range(4)), 1 << 20, 3 << 20]:
        content = generator.randbytes(length)
        (tmp_path / "file").write_bytes(content)
        assert reader(tmp_path / "file") == hashlib.sha256(content).hexdigest(), length
    reader.close()
