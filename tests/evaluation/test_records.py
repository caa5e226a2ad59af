"""Records: a line loses nothing of a class map, and whatever ends a writer leaves something to go on from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport.errors import DataError, OutputError
from segexport.evaluation import records
from segexport.evaluation.boundary import boundary_counts
from segexport.evaluation.condition import CLEAN, Condition, conditions_of
from segexport.evaluation.corruptions import CORRUPTIONS
from segexport.evaluation.folder import MARKER, EvaluationFolder, Shard, open_folder, open_locked
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.evaluation.writer import RecordWriter
from tests.evaluation import handmade

ONE = Shard(1, 1)


@given(seed=st.integers(0, 2**32 - 1), classes=st.sampled_from([1, 2, 19, 255]), height=st.integers(1, 9))
def test_a_line_holds_the_confusion_matrix_exactly(seed: int, classes: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(classes), 255], (height, 7)).astype(np.uint8)
    found = rng.integers(0, classes, truth.shape).astype(np.uint8)
    entry = records.score(truth, found, classes, boundary=True, bands=4)
    raw = records.encode({"index": 3, "condition": 0, "scores": [entry]})
    (score,) = records.decode(raw).scores
    matrix = ConfusionMatrix(classes)
    matrix.update(truth, found)
    np.testing.assert_array_equal(records.confusion_matrix(score.confusion, classes), matrix.counts)
    want = np.stack([np.diag(matrix.counts), matrix.counts.sum(1), matrix.counts.sum(0)])
    np.testing.assert_array_equal(records.class_counts(score.confusion, classes), want)
    np.testing.assert_array_equal(
        records.boundary_table(score.boundary, classes), boundary_counts(truth, found, classes)
    )
    bands = sum(records.confusion_matrix(band, classes) for band in score.bands)
    np.testing.assert_array_equal(bands, matrix.counts)


def test_bands_are_from_the_top() -> None:
    truth = np.repeat(np.arange(4, dtype=np.uint8), 2)[:, None]
    entry = records.score(truth, truth, 4, boundary=False, bands=4)
    assert entry["bands"] == [[[band, band, 2]] for band in range(4)]
    assert "boundary" not in entry


def test_an_image_without_a_known_pixel_is_an_empty_list() -> None:
    truth = np.full((5, 5), 255, np.uint8)
    entry = records.score(truth, np.zeros_like(truth), 3, boundary=False, bands=None)
    assert entry == {"confusion": []}
    assert records.class_counts(np.zeros((0, 3), np.int64), 3).sum() == 0


def test_brightness_is_luma() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert records.brightness(image) == 0
    image[..., 1] = 255
    assert records.brightness(image) == pytest.approx(0.587 * 255, abs=1e-3)
    assert records.brightness(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(255, abs=1e-3)


def test_a_digest_tells_images_and_masks_apart() -> None:
    one = handmade.sample(0)
    assert records.digest(one) == records.digest(handmade.sample(0))
    other = handmade.sample(0)
    other.mask[0, 0] ^= 1
    assert records.digest(one) != records.digest(other)


def test_a_writer_goes_on_wherever_it_was_torn_off(tmp_path: Path) -> None:
    """Cut anywhere: what is whole is kept, the rest is done again, and the file ends as if nothing had happened."""
    made = handmade.settings(3, [handmade.facts("a")], [CLEAN, Condition("fog", 1)], boundary=False)
    whole = handmade.write(tmp_path / "whole", made)
    want = (whole.path / ONE.file).read_bytes()
    ends = [i + 1 for i, byte in enumerate(want) if byte == ord("\n")]
    assert len(ends) == 6
    folder, _ = open_folder(tmp_path / "cut", made)
    for cut in {*range(0, len(want), 7), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}:
        (folder.path / ONE.file).write_bytes(want[:cut])
        done = sum(end <= cut for end in ends)
        position = folder.position(ONE)
        assert (position.ordinal, position.condition) == divmod(done, 2)
        with RecordWriter(folder, ONE) as writer:
            assert writer.position == position
            for unit in range(done, 6):
                writer.append(handmade.entry(made, *divmod(unit, 2)))
        assert (folder.path / ONE.file).read_bytes() == want


def test_zeros_of_a_power_cut_are_cut_off(tmp_path: Path) -> None:
    made = handmade.settings(2, [handmade.facts("a")])
    folder = handmade.write(tmp_path / "e", made)
    file = folder.path / ONE.file
    first = file.read_bytes().splitlines(keepends=True)[0]
    file.write_bytes(first + b"\0" * 40)
    assert folder.position(ONE).ordinal == 1
    assert folder.position(ONE).bytes == len(first)


def test_damage_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path / "e", handmade.settings(4, [handmade.facts("a")]))
    file = folder.path / ONE.file
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], b"nonsense\n", *lines[2:]]))
    with pytest.raises(DataError, match="damaged in line 2: delete that file"):
        folder.position(ONE)
    file.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(DataError, match="damaged in line 2"):
        folder.position(ONE)
    file.write_bytes(b"".join([lines[0], lines[1].replace(b'"scores":[{', b'"scores":[['), *lines[2:]]))
    with pytest.raises(DataError, match="damaged at image 1"):
        list(folder.read({0}))


def test_two_writers_of_one_shard_are_refused(tmp_path: Path) -> None:
    folder, _ = open_folder(tmp_path / "e", handmade.settings(2, [handmade.facts("a")]))
    with RecordWriter(folder, ONE), pytest.raises(OutputError, match="another process"):
        RecordWriter(folder, ONE)
    with RecordWriter(folder, ONE):
        pass


FILL = """
import resource, sys
from pathlib import Path
from segexport.errors import OutputError
from segexport.evaluation.folder import Shard, open_folder
from segexport.evaluation.writer import RecordWriter
from tests.evaluation import handmade
made = handmade.settings(50, [handmade.facts("a")])
folder, _ = open_folder(Path(sys.argv[1]), made)
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    with RecordWriter(folder, Shard(1, 1)) as writer:
        for index in range(writer.position.ordinal, 50):
            writer.append(handmade.entry(made, index, 0))
except OutputError as error:
    print(error)
    sys.exit(2)
"""


def test_a_full_disk_is_said_and_gone_on_from(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]

    def fill(*limit: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", FILL, str(tmp_path / "e"), *limit]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

    full = fill("5000")
    assert full.returncode == 2, full.stderr
    assert "no room to write" in full.stdout
    assert "run the same command again to go on" in full.stdout
    made = handmade.settings(50, [handmade.facts("a")])
    folder = EvaluationFolder(tmp_path / "e", made)
    assert 0 < folder.position(ONE).ordinal < 50
    assert (folder.path / ONE.file).stat().st_size == 5000, "half a line stands at the end"
    assert fill().returncode == 0
    want = handmade.write(tmp_path / "whole", made)
    assert (folder.path / ONE.file).read_bytes() == (want.path / ONE.file).read_bytes()


def test_a_folder_with_other_settings_names_what_differs(tmp_path: Path) -> None:
    made = handmade.settings(4, [handmade.facts("a")])
    folder = handmade.write(tmp_path / "e", made)
    assert open_folder(folder.path, json.loads(json.dumps(made))) == (folder, False)
    other = {**made, "boundary": False, "seed": 4, "versions": {"python": "3.12", "numpy": "3"}}
    with pytest.raises(OutputError, match=r"boundary: True there, False now; seed: 3 there, 4 now; versions numpy: 2"):
        open_folder(folder.path, other)
    with pytest.raises(OutputError, match=r"subjects: 1 there, 2 now"):
        open_folder(folder.path, {**made, "subjects": [handmade.facts("a"), handmade.facts("b")]})
    with pytest.raises(OutputError, match=r"subjects 1 precision: fp32 there, int8 now"):
        open_folder(folder.path, {**made, "subjects": [{**handmade.facts("a"), "precision": "int8"}]})
    renamed = {**made, "subjects": [handmade.facts("other name")]}
    assert open_folder(folder.path, renamed)[1] is False, "a bundle may be moved"
    changed = {**made, "data": {**made["data"], "sha256": "1" * 64}}
    assert open_folder(folder.path, changed)[1] is True
    anew, _ = open_folder(folder.path, other, overwrite=True)
    assert anew.position(ONE).ordinal == 0


def test_only_a_folder_of_ours_is_replaced(tmp_path: Path) -> None:
    made = handmade.settings(2, [handmade.facts("a")])
    other = tmp_path / "holiday"
    other.mkdir()
    (other / "photo.jpg").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="another --out"):
            open_folder(other, made, overwrite=overwrite)
    assert (other / "photo.jpg").exists()
    file = tmp_path / "file"
    file.write_text("x")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="another --out"):
            open_folder(file, made, overwrite=overwrite)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / f".{MARKER}.half").write_text("{")
    assert open_folder(empty, made)[0].position(ONE).ordinal == 0


def test_a_folder_that_is_written_in_is_not_replaced(tmp_path: Path) -> None:
    made = handmade.settings(2, [handmade.facts("a")])
    folder, _ = open_folder(tmp_path / "e", made)
    with RecordWriter(folder, ONE), pytest.raises(OutputError, match="another process"):
        open_folder(folder.path, made, overwrite=True)
    assert (folder.path / MARKER).exists()


def test_damaged_settings_are_said(tmp_path: Path) -> None:
    made = handmade.settings(2, [handmade.facts("a")])
    (tmp_path / MARKER).write_text("[1")
    with pytest.raises(OutputError, match="damaged"):
        open_folder(tmp_path, made)


def test_images_come_in_order_from_any_number_of_shards(tmp_path: Path) -> None:
    for shards in (1, 2, 5, 9):
        made = handmade.settings(7, [handmade.facts("a")], [CLEAN, Condition("fog", 2)], shards=shards)
        folder = handmade.write(tmp_path / str(shards), made, bad=[3])
        images = list(folder.read({0, 1}))
        assert [image.index for image in images] == list(range(7))
        assert images[3].bad == "image3 is broken"
        assert [set(image.records) for image in images] == [{0, 1}] * 3 + [set()] + [{0, 1}] * 3
        assert next(set(image.records) for image in folder.read({1})) == {1}
        assert [digest.sha256 is None for digest in folder.digests()].count(True) == 1


def test_a_lock_ends_with_its_file(tmp_path: Path) -> None:
    import os

    descriptor = open_locked(tmp_path / "x")
    with pytest.raises(OutputError):
        open_locked(tmp_path / "x")
    os.close(descriptor)
    os.close(open_locked(tmp_path / "x"))


def test_conditions_begin_with_clean_images() -> None:
    assert conditions_of(None) == (CLEAN,)
    assert len(conditions_of("all")) == 1 + 5 * len(CORRUPTIONS)
    assert conditions_of("fog, snow", "3,1") == (
        CLEAN,
        *(Condition(name, severity) for name in ("fog", "snow") for severity in (1, 3)),
    )
    assert conditions_of("fog", "2..4")[1:] == tuple(Condition("fog", s) for s in (2, 3, 4))
