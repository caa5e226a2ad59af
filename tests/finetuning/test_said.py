"""What a training says of itself: its length before it begins, what was really run, and what comes next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from segexport.bundle import open_bundle
from segexport.finetuning.recipe import counted
from segexport.finetuning.run import finetune
from tests.support.cli import RunCli
from tests.support.training import Stop, write_architecture, write_scenes

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def scenes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images to train on, two to validate on."""
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data", val=2)


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of thousands of weights."""
    return write_architecture(tmp_path_factory.mktemp("architecture") / "tiny")


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1 minute"), (1.5, "1.5 minutes"), (0, "0 minutes"), (160000, "160000 minutes")]
)
def test_one_is_singular_and_nothing_else_is(number: float, said: str) -> None:
    assert counted(number, "minute") == said


def test_the_default_length_and_how_to_set_another_are_said_before_it_begins(
    scenes_folder: Path, architecture: Path, tmp_path: Path
) -> None:
    lines: list[str] = []

    def stop(share: float, text: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        finetune(
            scenes_folder, tmp_path / "out", model=str(architecture), random_init=True, tell=lines.append, told=stop
        )
    assert lines[-1] == "160000 steps are the paper's length: --steps, --epochs or --minutes set another"


@pytest.mark.slow
def test_the_card_has_what_was_run_and_the_last_line_builds_a_bundle(
    run_cli: RunCli, scenes_folder: Path, architecture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "my street"  # to be quoted in a shell
    start = ("finetune", "--random-init", "--model", architecture, "--data", scenes_folder, "--out", out)
    trained = run_cli(*start, "--minutes", 0.05, "--batch", 2, "--evaluations", 1)
    assert trained.code == 0, trained.err
    assert "0.05 minutes of batch 2" in trained.err
    assert "-:--:--" not in trained.err
    metrics, card = json.loads((out / "metrics.json").read_text()), (out / "README.md").read_text()
    steps = metrics["steps"]
    assert steps == metrics["step"], "one validation, at its end"
    assert f"{counted(steps, 'step')} in 0.05 minutes of batch 2" in card
    assert f"| steps | {steps} |" in card
    assert "160000" not in card
    assert (metrics["miou"]["low"], metrics["miou"]["high"]) == (None, None)
    assert "there is no interval, as there are too few images for one" in card
    assert "(too few images for an interval) on 2 validation images" in trained.out
    label, command = trained.out.splitlines()[-1].split(maxsplit=1)
    assert label == "next"
    program, *arguments = shlex.split(command)
    assert program == "segexport"
    monkeypatch.chdir(tmp_path)
    built = run_cli(*arguments)
    assert built.code == 0, built.err
    (bundle,) = (tmp_path / "bundles").iterdir()
    assert open_bundle(bundle).manifest.source.id == str(out)
