"""What a benchmark does with what it is asked for: no data, no masks, no PyTorch, batches, several callers."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jsonschema
import pytest

import segexport
from segexport import scenes
from segexport.bench.images import SCENES, open_images
from segexport.bench.result import Result
from segexport.bench.start import batches
from segexport.bundle import Bundle
from segexport.data import read_json
from segexport.errors import CheckpointError, ContractError, DataError
from segexport.report import table
from tests.support.checkpoints import SIZE

pytestmark = pytest.mark.bundle


def moved(bundle: Bundle, name: str = "street") -> Bundle:
    """The bundle whose checkpoint is gone, and with a name of its own."""

    class Named(Bundle):
        @property
        def name(self) -> str:
            return name

    source = dataclasses.replace(bundle.manifest.source, id="/gone/from/here")
    return Named(bundle.folder, dataclasses.replace(bundle.manifest, source=source))


def checked(result: Result) -> Result:
    """The result, whose JSON follows its schema."""
    jsonschema.validate(json.loads(json.dumps(result.to_json(), allow_nan=False)), read_json("bench.schema.json"))
    return result


def test_without_data_and_checkpoint_there_are_scenes_and_the_first_fp32(
    bundle: Bundle, openvino_bundle: Bundle
) -> None:
    seen: list[tuple[int, int]] = []
    result = checked(
        segexport.benchmark(
            [moved(bundle, "first"), moved(openvino_bundle, "second")],
            progress=lambda done, total: seen.append((done, total)),
        )
    )
    first, second = result.rows
    assert (first.name, first.agreement, first.agreement_with) == ("first", None, None)
    assert second.agreement_with == "first"
    assert second.agreement is not None
    assert second.agreement >= 0.9998
    assert second.verdict.startswith("sees what first sees, ")
    assert [c.against for c in second.comparisons] == ["first"]
    assert all(row.miou is None and row.miou_interval is None for row in result.rows)
    assert result.data["images"] == SCENES
    assert result.reference is None
    scenes_shown, no_pytorch, agreement = result.notes
    assert scenes_shown.startswith("generated scenes were shown: pass --data")
    assert "/gone/from/here" in no_pytorch
    assert no_pytorch.endswith("pass --reference CHECKPOINT")
    assert agreement == "agreement is with first, in fp32"
    assert table.verdicts(result)[-3:] == [f"note: {note}" for note in result.notes]
    rounds, contenders = 3 + 20, 2
    assert seen == [(done, rounds * contenders) for done in range(rounds * contenders + 1)], "warm-up counts, too"


def test_a_reference_that_is_asked_for_must_be_had(bundle: Bundle, data: Path) -> None:
    for wanted in ({"use_reference": True}, {"reference": "/gone/from/here"}):
        with pytest.raises(CheckpointError, match=r"gone.*; pass --reference CHECKPOINT, or --no-reference"):
            segexport.benchmark([moved(bundle)], data, **wanted)  # type: ignore[arg-type]


def test_without_torch_there_is_no_reference(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch is hidden from the processes that a benchmark starts; a real environment without it is tested elsewhere."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = segexport.benchmark([bundle])
    (row,) = result.rows
    assert row.agreement is None
    assert 'pip install "segexport[train]"' in result.notes[1]


@pytest.mark.slow
def test_photos_with_an_open_batch_and_several_callers(
    open_batch: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch is called with as many images, and by as many callers."""
    monkeypatch.setattr("segexport.bench.measure.LOAD_SECONDS", 0.3)
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in (data / "images").iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    seen: list[tuple[int, int]] = []
    result = checked(
        segexport.benchmark(
            [open_batch], photos, batch=3, concurrency=2, progress=lambda done, total: seen.append((done, total))
        )
    )
    assert result.notes == (
        f"{photos} has no masks: pass --data with a folder that holds images/ and masks/ to measure mIoU",
    )
    pytorch, row = result.rows
    assert (pytorch.batch, row.batch, row.calls) == (3, 3, 20)
    assert row.agreement == 1.0
    assert row.agreement_with == "pytorch"
    assert result.concurrency == 2
    assert row.throughput is not None
    assert pytorch.throughput is not None
    assert row.throughput > pytorch.throughput > 0
    assert "| images/s, 2 callers |" in table.markdown(result)
    done, total = zip(*seen, strict=True)
    assert done[-1] == total[-1] > 2 * 23, "the callers' time counts as calls"


def test_what_cannot_be_called_is_refused_before_anything_starts(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python/to/start")
    with pytest.raises(
        ContractError, match=rf"{bundle.folder} takes exactly 1 image at once, and not 4: build it with"
    ):
        segexport.benchmark([bundle], batch=4)
    with pytest.raises(ContractError, match="a call of 0 images"):
        segexport.benchmark([bundle], batch=0)
    with pytest.raises(ContractError, match="0 callers"):
        segexport.benchmark([bundle], concurrency=0)


def test_a_call_has_the_images_that_the_batch_says(bundle: Bundle, open_batch: Bundle) -> None:
    assert batches([bundle, open_batch], None) == [1, 1]
    assert batches([bundle, open_batch], 1) == [1, 1]
    assert batches([open_batch], 5) == [5]


def test_masks_that_cannot_be_used_are_not_passed_over(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A folder without any mask is photos; one in which a mask is missing is a mistake."""
    folder = scenes.write_dataset(tmp_path / "data", 2, seed=0, size=SIZE)
    images, note = open_images(folder, bundle.manifest, None)
    assert images.sample(0).mask is not None
    assert note == ""
    (folder / "masks" / "0001.png").unlink()
    with pytest.raises(DataError, match=r"0001.png has no mask"):
        open_images(folder, bundle.manifest, None)
    (folder / "masks" / "0000.png").unlink()
    images, note = open_images(folder, bundle.manifest, None)
    assert len(images) == 2
    assert "has no masks" in note


def test_generated_scenes_are_the_same_each_time(bundle: Bundle) -> None:
    (one, _), (same, _), (fewer, _) = (open_images(None, bundle.manifest, limit) for limit in (None, 20, 2))
    assert (len(one), len(same), len(fewer)) == (SCENES, SCENES, 2)
    assert one.sha256() == same.sha256() != fewer.sha256()
    assert one.sample(1).image.shape == (*SIZE, 3)
    assert (one.sample(1).image == fewer.sample(1).image).all()
    assert (one.sample(1).image != one.sample(2).image).any()
