"""Evaluations of real bundles: killed, sharded, gone on with, on data that is broken in many ways."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from segexport import scenes
from segexport.bundle import Bundle
from segexport.data import read_json
from segexport.errors import CheckpointError, ContractError, DataError, OutputError
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.run import evaluate, parse_shard
from segexport.images import read_image, read_mask
from segexport.segmenter import open_segmenter
from tests.support.checkpoints import SIZE

pytestmark = pytest.mark.bundle
ROOT = Path(__file__).parents[2]
IMAGES = 6

RUN = """
import json, sys
from segexport.evaluation.run import evaluate
options = json.loads(sys.argv[1])
print(json.dumps(evaluate(**options).to_json()))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return scenes.write_dataset(tmp_path / "data", IMAGES, seed=scenes.VALIDATION_SEED, size=SIZE)


def start(**options: object) -> subprocess.Popen[str]:
    """An evaluation in a process of its own."""
    command = [
        sys.executable,
        "-c",
        RUN,
        json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in options.items()}),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def figures(content: dict) -> dict:
    """All of the JSON but where it came from."""
    settings = {k: v for k, v in content["settings"].items() if k != "shards"}
    return {**content, "settings": settings}


def test_the_figures_are_those_of_the_bundle(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    found = evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    want = ConfusionMatrix(len(scenes.LABELS))
    with open_segmenter(bundle, threads=1) as net:
        for file in sorted((images / "images").iterdir()):
            want.update(read_mask(images / "masks" / f"{file.stem}.png"), net.run(read_image(file)).mask)
    (subject,) = found.subjects
    np.testing.assert_array_equal(subject.figures.confusion, want.counts)
    assert subject.figures.miou.value == want.miou()
    assert found.images == IMAGES
    jsonschema.validate(found.to_json(), read_json("evaluation.schema.json"))


def test_pytorch_and_engine_count_the_same_pixels(
    bundle: Bundle, checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    found = evaluate([checkpoint, bundle.folder], images, out=tmp_path / "e", threads=1, protocol=Protocol(size=SIZE))
    torch, engine = (np.array(one.figures.confusion) for one in found.subjects)
    np.testing.assert_array_equal(torch.sum(1), engine.sum(1))
    assert np.abs(torch - engine).sum() <= 0.002 * torch.sum()
    assert [one.facts["kind"] for one in found.subjects] == ["pytorch", "bundle"]
    assert abs(found.differences[0].miou.value) < 0.005


def test_two_shards_at_once_give_one_runs_numbers(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    options = {
        "subjects": [str(bundle.folder)],
        "data": images,
        "corruptions": "fog",
        "severity": "2,5",
        "use_reference": False,
        "by": ["brightness", "row"],
        "threads": 1,
    }
    together = [start(**options, out=tmp_path / "two", shard=f"{number}/2") for number in (1, 2)]
    said = [json.loads(process.communicate(timeout=120)[0]) for process in together]
    assert [process.returncode for process in together] == [0, 0]
    assert any(not content["missing"] for content in said), "whoever ends last has the figures"
    one = evaluate(**{**options, "out": tmp_path / "one"}).to_json()
    two = evaluate(**{**options, "out": tmp_path / "two"}).to_json()
    assert figures(json.loads(json.dumps(one))) == figures(json.loads(json.dumps(two)))
    assert one["subjects"][0]["figures"]["miou"]["value"] is not None
    with pytest.raises(OutputError, match="shards: 2 there, 3 now"):
        evaluate(**{**options, "out": tmp_path / "two", "shard": "1/3"})


def test_a_shard_says_what_is_missing(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    done = []
    options = {"out": tmp_path / "e", "threads": 1, "progress": lambda *counts: done.append(counts)}
    first = evaluate([bundle.folder], images, shard="2/3", **options)
    assert [(m.shard, m.images) for m in first.missing] == [("1/3", 2), ("3/3", 2)]
    assert done == [(0, 2), (1, 2), (2, 2)]
    done.clear()
    whole = evaluate([bundle.folder], images, **options)
    assert whole.complete
    assert (whole.settings["shards"], whole.done_before) == (3, 2)
    assert done == [(2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]
    with pytest.raises(ContractError, match="--overwrite with --shard"):
        evaluate([bundle.folder], images, shard="1/3", overwrite=True, **options)


def test_killed_at_any_moment_it_goes_on(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    options = {
        "subjects": [str(bundle.folder)],
        "data": images,
        "corruptions": "contrast,brightness",
        "use_reference": False,
        "threads": 1,
    }
    records = tmp_path / "killed" / "records-1-of-1.jsonl"
    for lines in (5, 31):
        process = start(**options, out=tmp_path / "killed")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not records.exists() or records.read_bytes().count(b"\n") < lines):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert lines <= records.read_bytes().count(b"\n") < IMAGES * 11
    with records.open("ab") as file:
        file.write(b'{"index":')  # what a write that was cut short leaves
    before = records.read_bytes().rpartition(b"\n")[0]
    whole = evaluate(**{**options, "out": tmp_path / "killed"})
    assert records.read_bytes().startswith(before), "nothing is done twice"
    assert whole.done_before == (before.count(b"\n") + 1) // 11
    one = evaluate(**{**options, "out": tmp_path / "one"})
    assert whole.to_json() == one.to_json()
    assert records.read_bytes() == (tmp_path / "one" / records.name).read_bytes()


def test_a_bad_image_stops_it_and_a_mended_one_goes_on(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    file = sorted((images / "images").iterdir())[3]
    whole = file.read_bytes()
    want = evaluate([bundle.folder], images, out=tmp_path / "want", threads=1)
    file.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(DataError, match=rf"{file.name}.*what is done is kept in .*--skip-bad"):
            evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    file.write_bytes(whole)
    found = evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    assert found.done_before == 3
    assert found.to_json() == want.to_json()


def test_bad_images_can_be_skipped_and_are_counted(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    files = sorted((images / "images").iterdir())
    whole = files[1].read_bytes()
    files[1].write_bytes(b"no image")
    mask = images / "masks" / f"{files[4].stem}.png"
    Image.new("L", (5, 5)).save(mask)
    with pytest.raises(DataError, match=files[1].name):
        evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    found = evaluate([bundle.folder], images, out=tmp_path / "e", threads=1, skip_bad=True)
    assert found.images == IMAGES - 2
    assert [s.index for s in found.skipped] == [1, 4]
    assert "masks must have their image's size" in found.skipped[1].why
    again = evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    assert [s.index for s in again.skipped] == [1, 4], "never silently"
    files[1].write_bytes(whole)
    with pytest.raises(DataError, match=r"image 1 of .* was left out as bad, and can be read now"):
        evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)


def test_images_that_changed_are_not_mixed(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    file = sorted((images / "masks").iterdir())[2]
    with Image.open(file) as mask:
        changed = np.asarray(mask).copy()
    changed[:4] = 255
    Image.fromarray(changed).save(file)
    with pytest.raises(DataError, match=r"image 2 of .* is not what it was.*--overwrite"):
        evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    with pytest.raises(OutputError, match="data images: 6 there, 4 now"):
        evaluate([bundle.folder], images, out=tmp_path / "e", threads=1, limit=4)
    assert evaluate([bundle.folder], images, out=tmp_path / "e", threads=1, limit=4, overwrite=True).images == 4


def test_masks_of_nothing_and_of_one_class(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    first, *others = sorted((images / "masks").iterdir())
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(first)
    for file in others:
        Image.fromarray(np.full(SIZE, 2, np.uint8)).save(file)
    found = evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)
    (subject,) = found.subjects
    assert subject.figures.mean_accuracy.value == subject.figures.classes[2].accuracy.value
    for file in others:
        shutil.copy(first, file)
    nothing = evaluate([bundle.folder], images, out=tmp_path / "n", threads=1)
    assert np.isnan(nothing.subjects[0].figures.miou.value)
    jsonschema.validate(nothing.to_json(), read_json("evaluation.schema.json"))


def test_another_label_set_names_file_and_value(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    file = sorted((images / "masks").iterdir())[4]
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(file)
    with pytest.raises(DataError, match=rf"{file.name} has label id 77.*what is done is kept"):
        evaluate([bundle.folder], images, out=tmp_path / "e", threads=1)


def test_columns_group_images(bundle: Bundle, images: Path, tmp_path: Path) -> None:
    names = [file.stem for file in sorted((images / "images").iterdir())]
    table = tmp_path / "table.csv"
    table.write_text("name,city\n" + "".join(f"{n},{'Bern' if i < 4 else 'Genf'}\n" for i, n in enumerate(names)))
    options = {"columns": table, "threads": 1}
    with pytest.raises(DataError, match=r"no column 'town' .*they have city"):
        evaluate([bundle.folder], images, out=tmp_path / "t", by=["town"], **options)
    found = evaluate([bundle.folder], images, out=tmp_path / "e", by=["city"], **options)
    assert [(g.group, g.images, g.few) for g in found.groups] == [("Bern", 4, True), ("Genf", 2, True)]
    other = evaluate([bundle.folder], images, out=tmp_path / "e", by=["brightness"], **options)
    assert other.done_before == IMAGES, "groups are made of what is recorded"
    with pytest.raises(OutputError, match="bands: none there, 4 now"):
        evaluate([bundle.folder], images, out=tmp_path / "e", by=["row"], **options)


@pytest.mark.slow
def test_random_weights_mean_nothing(bundle: Bundle, images: Path, checkpoint: Path, tmp_path: Path) -> None:
    import segexport

    drawn = segexport.build(checkpoint, tmp_path / "random", engine="onnxruntime", size=SIZE, random_init=True)
    found = evaluate([drawn.folder], images, out=tmp_path / "e", threads=1, limit=2)
    assert found.subjects[0].figures is None
    assert found.differences == ()


def test_pytorch_stands_beside_a_corrupted_bundle(
    bundle: Bundle, images: Path, checkpoint: Path, tmp_path: Path
) -> None:
    options = {"threads": 1, "corruptions": "contrast", "severity": "1,5", "limit": 3}
    found = evaluate([bundle.folder], images, out=tmp_path / "e", **options)
    torch, engine = found.subjects
    assert (torch.facts["kind"], engine.facts["kind"]) == ("pytorch", "bundle")
    assert torch.facts["size"] == engine.facts["size"] == list(SIZE)
    assert engine.name in found.robustness.findings[0]
    assert len(found.robustness.conditions) == 2 * 2
    alone = evaluate([bundle.folder], images, out=tmp_path / "a", use_reference=False, **options)
    assert [one.name for one in alone.subjects] == [bundle.folder.name]
    assert alone.robustness.findings == ()
    with pytest.raises(CheckpointError, match="--no-reference"):
        evaluate([bundle.folder], images, out=tmp_path / "x", reference=str(tmp_path / "nowhere"), **options)
    assert not (tmp_path / "x").exists()


def test_shards_are_named_from_one() -> None:
    assert (parse_shard("2/3").number, parse_shard(" 3/3 ").of) == (2, 3)
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0", "1/9999"):
        with pytest.raises(ContractError, match="--shard i/n"):
            parse_shard(wrong)


def test_options_that_contradict_each_other_are_refused_first(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for options, message in (
        ({"severity": "3"}, "pass --corruptions"),
        ({"corruptions": "rain"}, "corruption 'rain' is unknown: .*fog"),
        ({"corruptions": "fog", "severity": "6"}, "severity '6' cannot be read"),
        ({"corruptions": "fog", "severity": "5..1"}, "names none"),
        ({"shard": "2"}, "--shard i/n"),
        ({"reference": "b0"}, "name the checkpoint as a subject"),
    ):
        with pytest.raises(ContractError, match=message):
            evaluate([nowhere], nowhere, **options)
    with pytest.raises(ContractError, match="name what to evaluate"):
        evaluate([], nowhere)
