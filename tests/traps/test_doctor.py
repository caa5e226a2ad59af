"""`segexport doctor` on checkpoints and data: which is which, against each other, fixes as code, exit codes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from segexport import scenes
from segexport.doctor import examine
from segexport.errors import ContractError, DataError
from segexport.traps.examination import Examination


@pytest.fixture
def careless(checkpoint, tmp_path):
    """A checkpoint whose processor normalises pixels that it has not divided by 255."""
    folder = tmp_path / "careless"
    shutil.copytree(checkpoint, folder)
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**processor, "do_rescale": False}))
    return folder


@pytest.fixture
def labelled(tmp_path):
    """Scenes with class names; enough of them not to be warned of their number."""
    folder = scenes.write_dataset(tmp_path / "labelled", 24, seed=5, size=(48, 64))
    (folder / "classes.txt").write_text("\n".join(scenes.LABELS))
    return folder


def names(found):
    assert isinstance(found, Examination)
    return {trap.name for trap in found.traps if trap.severity == "error"}


def test_a_checkpoint_that_normalises_without_rescaling_and_its_fix(careless, run_cli, tmp_path):
    found = run_cli("doctor", careless, "--json", tmp_path / "found.json")
    assert found.code == 1
    assert "error   normalised-without-rescaling" in found.out
    report = json.loads((tmp_path / "found.json").read_text())
    assert (report["kind"], report["passed"]) == ("checkpoint", False)
    (trap,) = [one for one in report["traps"] if one["name"] == "normalised-without-rescaling"]
    # What is printed is what mends it.
    code = [line[4:] for line in found.out.splitlines() if line.startswith("    ")]
    assert set(trap["code"].splitlines()) <= set(code)
    exec(trap["code"], {})
    assert "normalised-without-rescaling" not in names(examine(careless))


def test_data_alone_and_data_that_a_checkpoint_is_for(checkpoint, labelled, run_cli):
    assert names(examine(labelled)) == set()
    against = run_cli("doctor", checkpoint, "--data", labelled)
    assert "(checkpoint)" in against.out
    for path in (labelled / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) + np.uint8(1)).save(path)
    assert "labels-from-one" in names(examine(labelled))
    assert "labels-from-one" in names(examine(checkpoint, data=labelled))
    assert run_cli("doctor", labelled).code == 1


def test_what_is_taken_for_what(bundle, checkpoint, labelled, tmp_path):
    assert isinstance(examine(checkpoint), Examination)
    assert examine(labelled).kind == "data"
    assert not isinstance(examine(bundle.folder, targets=["rtx"]), Examination)
    assert names(examine("nowhere/there")) == {"checkpoint-not-found"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither a bundle, a checkpoint nor a data set"):
        examine(tmp_path / "empty")
    with pytest.raises(ContractError, match="held against"):
        examine(labelled, data=labelled)


def test_a_pth_file_that_is_none(tmp_path, run_cli):
    path = tmp_path / "half.pth"
    path.write_bytes(b"PK\x03\x04 and no more")
    found = run_cli("doctor", path)
    assert found.code == 1
    assert "half.pth" in found.out
    assert "Traceback" not in found.out + found.err
