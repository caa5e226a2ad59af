"""The programs that the documentation shows: typed, and the README's run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from segexport import native, scenes
from tests.support.checkpoints import write_checkpoint

ROOT = Path(__file__).parents[1]


def programs(page: Path) -> list[str]:
    """Each Python program of a page."""
    found: list[str] = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has none"
    return found


@pytest.mark.slow
def test_mypy_strict_passes_on_what_the_pages_show(tmp_path: Path) -> None:
    """By the project's own settings, which are strict, and with its cache; what is said of other files is not asked."""
    pytest.importorskip("cv2", reason="opencv-python is not installed, whose types one of the programs needs")
    files = []
    for page in (ROOT / "README.md", ROOT / "docs" / "python.md"):
        for number, program in enumerate(programs(page)):
            files.append(tmp_path / f"{page.stem.lower()}_{number}.py")
            files[-1].write_text(program)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(files[0].read_text() + "    found.mask.nothing\n")
    found = subprocess.run([sys.executable, "-m", "mypy", *files, wrong], cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in found.stdout.splitlines() if tmp_path.name in line]
    assert len(errors) == 1, found.stdout + found.stderr
    assert re.search(r'wrong\.py:\d+: error: "ndarray.*" has no attribute "nothing"', errors[0]), "mypy saw no types"


@pytest.mark.bundle
@pytest.mark.skipif(not native.available(), reason=native.MISSING)
def test_the_readmes_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "path" / "to" / "checkpoint")
    Image.fromarray(scenes.scene(0, (120, 160))[0]).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(programs(ROOT / "README.md")[0], "README.md", "exec"), {})
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("(120, 160) class ")
    assert others == ["(120, 160, 3)"] * 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo_mask.png", "photo_overlay.png"]
