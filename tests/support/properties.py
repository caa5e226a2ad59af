"""How many examples Hypothesis tries: few by default, as many as a test asks for with --hypothesis-profile=thorough."""

from __future__ import annotations

from hypothesis import settings

QUICK, THOROUGH = "quick", "thorough"
FEW = 25


def register_profiles() -> None:
    """Make both known, and the quick one current until pytest's option says otherwise."""
    # No deadline: a first call imports torch, which takes seconds, and is no defect.
    settings.register_profile(QUICK, deadline=None, max_examples=FEW)
    settings.register_profile(THOROUGH, deadline=None)
    settings.load_profile(QUICK)


def thorough() -> bool:
    """Whether this run takes nothing on trust that a quicker one does."""
    return settings.default.max_examples > FEW


def examples(count: int) -> settings:
    """`count` examples in a thorough profile, and at most few in the quick one."""
    return settings(max_examples=count if thorough() else min(count, FEW))
