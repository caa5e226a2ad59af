"""A bundle is, byte for byte, what was built, and its golden image proves its engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segexport
from segexport.bundle import ENGINE_GRAPH, MANIFEST, MODEL, SCHEMA, SUMS, Bundle, open_bundle
from segexport.errors import BundleCorrupt, SelftestFailed
from tests.support.edits import flip
from tests.support.manifests import edit_manifest, first_schema, reseal, second_schema

pytestmark = pytest.mark.bundle

FILES = [
    "model.onnx",
    "engine.onnx",
    "segexport.json",
    "golden/image.png",
    "golden/reference.png",
    "golden/engine.png",
]
SCHEMA_FILE = Path(segexport.__file__).parent / "data" / "manifest.schema.json"


@pytest.fixture
def copy(tmp_path: Path, bundle: Bundle) -> Path:
    """The small bundle, to be changed."""
    return shutil.copytree(bundle.folder, tmp_path / "copy")


def test_holds_these_files_and_no_more(bundle: Bundle) -> None:
    found = {p.relative_to(bundle.folder).as_posix() for p in bundle.folder.rglob("*") if p.is_file()}
    assert found == {*FILES, SUMS}
    assert bundle.size_bytes() == sum((bundle.folder / name).stat().st_size for name in FILES)


def test_opens_as_it_was_written(bundle: Bundle, copy: Path) -> None:
    assert open_bundle(copy).manifest == open_bundle(str(bundle.folder)).manifest == bundle.manifest
    reseal(copy)
    assert (copy / SUMS).read_bytes() == (bundle.folder / SUMS).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found_and_named(copy: Path, name: str) -> None:
    path = copy / name
    size = path.stat().st_size
    positions = range(0, size, 7) if name == MANIFEST else (0, size // 3, size // 2, size - 1)
    original = path.read_bytes()
    for position in positions:
        flip(path, position)
        with pytest.raises(BundleCorrupt) as caught:
            open_bundle(copy)
        assert str(path) in str(caught.value), position
        assert "\n" not in str(caught.value)
        path.write_bytes(original)
    open_bundle(copy)


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_one_changed_byte_of_the_checksums(copy: Path, bit: int) -> None:
    original = (copy / SUMS).read_bytes()
    for position in range(len(original)):
        flip(copy / SUMS, position, bit)
        with pytest.raises(BundleCorrupt) as caught:
            open_bundle(copy)
        assert SUMS in str(caught.value), position
        (copy / SUMS).write_bytes(original)


@pytest.mark.parametrize("name", [*FILES, SUMS])
def test_a_missing_or_shortened_file_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleCorrupt):
        open_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(BundleCorrupt, match=name):
        open_bundle(copy)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(BundleCorrupt, match=r"is not a bundle .*pass a folder made by segexport build") as caught:
            open_bundle(path)
        assert str(path) in str(caught.value)


def test_a_newer_schema_names_both_versions(copy: Path) -> None:
    edit_manifest(copy, lambda m: m.update(schema=SCHEMA + 1, something="new"))
    with pytest.raises(BundleCorrupt, match=rf"has schema {SCHEMA + 1}, this segexport reads up to {SCHEMA}: upgrade"):
        open_bundle(copy)


def test_the_second_schema_opens_and_runs_the_engines_graph(copy: Path, bundle: Bundle) -> None:
    edit_manifest(copy, second_schema)
    opened = open_bundle(copy)
    assert opened.engine_graph == copy / ENGINE_GRAPH
    assert opened.manifest == bundle.manifest
    assert segexport.selftest(opened).agreement == 1.0


def test_the_second_schema_without_an_engines_graph(copy: Path) -> None:
    """Where no pass had found anything, it runs the portable graph, whatever lies beside it."""

    def plain(manifest: dict) -> None:
        second_schema(manifest)
        manifest["engine"].update(machine="another processor", class_map="graph")
        for result in manifest["engine"]["rewrites"]:
            result["rewritten"] = []

    edit_manifest(copy, plain)
    opened = open_bundle(copy)
    assert opened.engine_graph == copy / MODEL
    assert segexport.selftest(opened).agreement > 0.999


def test_the_first_schema_opens_and_runs_the_portable_graph(copy: Path) -> None:
    (copy / ENGINE_GRAPH).unlink()
    edit_manifest(copy, first_schema)
    opened = open_bundle(copy)
    facts = opened.manifest.engine
    assert (facts.class_map, facts.rewrites, opened.engine_graph) == ("graph", (), copy / MODEL)
    assert segexport.selftest(opened, threads=1).agreement_with_reference > 0.999


def test_the_engines_graph_is_listed_where_there_is_one(copy: Path) -> None:
    lines = (copy / SUMS).read_text().splitlines(keepends=True)
    (copy / SUMS).write_text("".join(line for line in lines if not line.endswith(f"  {ENGINE_GRAPH}\n")))
    for remove in (False, True):
        if remove:
            (copy / ENGINE_GRAPH).unlink()
        with pytest.raises(BundleCorrupt, match=rf"SHA256SUMS does not list {ENGINE_GRAPH}"):
            open_bundle(copy)


def test_an_engines_graph_that_was_slipped_in_is_not_run(copy: Path) -> None:
    (copy / ENGINE_GRAPH).unlink()
    edit_manifest(copy, lambda m: m["engine"].update(machine="another", class_map="graph", rewrites=[], derived=False))
    (copy / ENGINE_GRAPH).write_bytes(b"anything")
    opened = open_bundle(copy)
    assert opened.engine_graph == copy / MODEL
    assert segexport.selftest(opened).agreement > 0.999


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": Infinity}', '{"schema": NaN}', "[]", ""])
def test_a_manifest_that_is_hostile(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(BundleCorrupt, match=r"segexport\.json cannot be read"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("labels"),
        lambda m: m.update(surprise=1),
        lambda m: m["contract"].pop("size"),
        lambda m: m.update(engine=[]),
        lambda m: m["contract"].update(size=[1, 1]),
        lambda m: m["contract"]["grid"].update(stride=0),
        lambda m: m["contract"].update(grid=4),
    ],
    ids=[
        "entry missing",
        "entry unknown",
        "nested entry missing",
        "entry of another kind",
        "size out of range",
        "grid out of range",
        "grid of another kind",
    ],
)
def test_a_manifest_that_does_not_follow_its_schema(copy: Path, change: Callable[[dict], object]) -> None:
    edit_manifest(copy, change)
    with pytest.raises(BundleCorrupt, match=r"segexport\.json does not follow its schema"):
        open_bundle(copy)


def test_the_cache_may_hold_anything(copy: Path, bundle: Bundle) -> None:
    (copy / "cache" / "below").mkdir(parents=True)
    (copy / "cache" / "below" / "timing.bin").write_bytes(b"anything")
    opened = open_bundle(copy)
    assert opened.manifest == bundle.manifest
    assert opened.size_bytes() == bundle.size_bytes()
    assert opened.cache == copy / "cache"


def test_manifest_follows_the_published_schema(bundle: Bundle) -> None:
    if not SCHEMA_FILE.exists():
        pytest.skip("the package has no data/manifest.schema.json")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    validator.validate(manifest)
    for place, entry, wrong in (
        ("contract", "size", "64x96"),
        ("contract", "grid", {"patch": 7, "stride": 0}),
        ("engine", "class_map", "cloud"),
        ("engine", "rewrites", [{"name": "a rewrite"}]),
        ("engine", "derived", "yes"),
        ("engine", "int8", "all"),
    ):
        assert validator.is_valid(manifest)
        right, manifest[place][entry] = manifest[place][entry], wrong
        assert not validator.is_valid(manifest), entry
        manifest[place][entry] = right


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_agrees(copy: Path) -> None:
    command = ["sha256sum", "--check", "--strict", SUMS]
    done = subprocess.run(command, cwd=copy, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(f"{name}: OK" for name in FILES)


class TestSelftest:
    def alter(self, copy: Path, pixels: int) -> None:
        with Image.open(copy / "golden" / "engine.png") as image:
            ids, palette = np.array(image), image.getpalette()
        ids.flat[:pixels] = (ids.flat[:pixels] + 1) % 5
        altered = Image.fromarray(ids).convert("P")
        altered.putpalette(palette)
        altered.save(copy / "golden" / "engine.png")
        reseal(copy)

    def elsewhere(self, copy: Path) -> None:
        edit_manifest(copy, lambda m: m["engine"].update(machine="another processor"))

    def test_passes_exactly_where_it_was_built(self, bundle: Bundle) -> None:
        result = segexport.selftest(bundle)
        assert (result.agreement, result.required, result.same_machine) == (1.0, 1.0, True)
        assert result.agreement_with_reference == bundle.manifest.golden["agreement_with_reference"]

    def test_one_other_pixel_is_too_many_here(self, copy: Path) -> None:
        self.alter(copy, 1)
        with pytest.raises(SelftestFailed, match=r"copy: 99\.98\d\d% of the golden image's pixels .*100\.0% required"):
            segexport.selftest(open_bundle(copy))

    def test_elsewhere_a_thousandth_may_differ(self, copy: Path) -> None:
        self.elsewhere(copy)
        self.alter(copy, 6)  # of 64 x 96
        result = segexport.selftest(open_bundle(copy))
        assert (result.required, result.same_machine) == (0.999, False)
        assert 0.999 <= result.agreement < 1
        self.alter(copy, 60)
        with pytest.raises(SelftestFailed, match=r"99\.9% required"):
            segexport.selftest(open_bundle(copy))

    def test_elsewhere_a_lower_precision_may_round_other_pixels_but_no_worse_ones(
        self, bundle: Bundle, tmp_path: Path
    ) -> None:
        half = segexport.rebuild(bundle, tmp_path / "half", engine="onnxruntime", precision="fp16").folder
        self.elsewhere(half)
        self.alter(half, 100)  # of 64 x 96
        result = segexport.selftest(open_bundle(half))
        assert (result.required, result.same_machine) == (0.98, False)
        assert 0.98 <= result.agreement < 0.99
        edit_manifest(
            half, lambda m: m["golden"].update(agreement_with_reference=result.agreement_with_reference + 0.01)
        )
        with pytest.raises(SelftestFailed, match=r"as the reference, .* when it was built"):
            segexport.selftest(open_bundle(half))
        self.alter(half, 200)
        with pytest.raises(SelftestFailed, match=r"98\.0% required"):
            segexport.selftest(open_bundle(half))
