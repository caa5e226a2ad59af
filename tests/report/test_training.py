"""What is said of a training while it runs and when it ends."""

from __future__ import annotations

import io
import time

from rich.console import Console

from segexport.report import training


def said(*, length_given: bool, shown: bool = True) -> list[str]:
    """Lines of a log in which a training tells of five steps of a thousand."""
    text = io.StringIO()
    with training.bar(Console(file=text, width=200), shown, length_given=length_given) as told:
        for step in range(1, 6):
            told(step / 1000, f"step {step}")
            time.sleep(0.01)
    return text.getvalue().splitlines()


def test_how_long_it_takes_is_said_once_where_nobody_said_how_long_to_train() -> None:
    lines = said(length_given=False)
    assert lines[0] == "training 0.1%, step 1"
    (estimate,) = [line for line in lines if "this training takes about" in line]
    assert "pass --steps, --epochs or --minutes for a shorter one" in estimate
    assert not any("this training takes" in line for line in said(length_given=True))


def test_only_the_first_of_several_processes_speaks() -> None:
    assert said(length_given=False, shown=False) == []
