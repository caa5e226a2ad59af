"""The 16 corruptions: any size, the same from the same seed, and those of our own against a plain reading."""

from __future__ import annotations

import importlib.util
import sys
import warnings

import numpy as np
import pytest

from segexport import scenes
from segexport.errors import ContractError, DataError, EngineUnavailable
from segexport.evaluation import corruption_code
from segexport.evaluation.corruptions import CORRUPTIONS, INSTALL, corrupt

INSTALLED = importlib.util.find_spec("imagecorruptions") is not None
needs_package = pytest.mark.skipif(not INSTALLED, reason=f"needs imagecorruptions: {INSTALL}")
SIZES = [(360, 480), (97, 131), (33, 70)]


def image(size: tuple[int, int], seed: int = 3) -> np.ndarray:
    return scenes.scene(seed, size)[0]


@needs_package
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_at_any_size(name: str) -> None:
    """Another image, of the same size, which looks less like the first the more severe it is."""
    for size in SIZES:
        original = image(size)
        before = original.copy()
        severities = (1, 5) if size == SIZES[0] else (3,)
        made = [corrupt(original, name, severity, 0) for severity in severities]
        np.testing.assert_array_equal(original, before)
        differences = [np.abs(m.astype(int) - original).mean() for m in made]
        for array in made:
            assert array.shape == original.shape
            assert array.dtype == np.uint8
        assert min(differences) > 0.1
        assert differences == sorted(differences) or name == "saturate"  # which goes from too little to too much


@needs_package
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_from_the_same_seed_whatever_was_drawn_before(name: str) -> None:
    original = image((64, 97))
    np.random.seed(11)
    state = np.random.get_state()[1].copy()
    first = corrupt(original, name, 4, seed=5)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # the caller's draws go on as they would have
    np.random.random(100)
    np.testing.assert_array_equal(corrupt(original.copy(), name, 4, seed=5), first)


@needs_package
@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "glass_blur", "fog", "frost", "motion_blur"])
def test_another_seed_or_image_draws_other_numbers(name: str) -> None:
    original = image((64, 97))
    one = corrupt(original, name, 3, seed=0)
    assert not np.array_equal(one, corrupt(original, name, 3, seed=1))
    other = original.copy()
    other[0, 0, 0] ^= 1
    assert not np.array_equal(one[8:], corrupt(other, name, 3, seed=0)[8:])


@needs_package
def test_spatter_without_a_drop_leaves_the_image_as_it_is() -> None:
    """The package divides by the largest drop; on small images there sometimes is none."""
    grey = np.full((32, 32, 3), 200, np.uint8)
    made = [corrupt(grey, "spatter", 1, seed) for seed in range(300)]
    assert all(m.min() > 100 for m in made)
    assert any(np.array_equal(m, grey) for m in made)


@needs_package
def test_the_package_is_imported_without_its_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in [n for n in sys.modules if n.split(".")[0] in ("imagecorruptions", "pkg_resources")]:
            del sys.modules[name]
        corrupt(image((32, 32)), "frost", 1, 0)


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(EngineUnavailable, match=r'pip install "segexport\[corruptions\]"'):
        corrupt(image((32, 32)), "fog", 1, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((32, 32, 3), np.uint8), "rain", 1, 0), ContractError, "no corruption 'rain': choose from gaussian"),
        ((np.zeros((32, 32, 3), np.uint8), "fog", 6, 0), ContractError, "no severity 6"),
        ((np.zeros((31, 64, 3), np.uint8), "fog", 1, 0), DataError, "31x64 is too small"),
        ((np.zeros((64, 64), np.uint8), "fog", 1, 0), DataError, r"not uint8 \[64, 64\]"),
        ((np.zeros((64, 64, 3), np.float32), "fog", 1, 0), DataError, "not float32"),
    ],
)
def test_bad_input(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        corrupt(*arguments)


@needs_package
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_glass_blur_is_the_packages_walk(severity: int) -> None:
    """The loops as imagecorruptions has them, its swap of two rows of an array included, which copies one of them."""
    gaussian = importlib.import_module("skimage.filters").gaussian
    original = image((40, 53))
    sigma, reach, rounds = [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)][severity - 1]
    np.random.seed(severity)
    x = np.uint8(gaussian(original / 255.0, sigma=sigma, channel_axis=-1) * 255)
    for _ in range(rounds):
        for h in range(40 - reach, reach, -1):
            for w in range(53 - reach, reach, -1):
                dx, dy = np.random.randint(-reach, reach, size=(2,))
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
    expected = np.clip(gaussian(x / 255.0, sigma=sigma, channel_axis=-1), 0, 1) * 255
    np.random.seed(severity)
    np.testing.assert_array_equal(corruption_code.glass_blur(original, severity), expected)


def test_impulse_noise_flips_the_published_share() -> None:
    grey = np.full((300, 400, 3), 77, np.uint8)
    np.random.seed(0)
    for severity, share in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1):
        made = corruption_code.impulse_noise(grey, severity)
        assert set(np.unique(made)) == {0, 77, 255}
        assert (made != 77).mean() == pytest.approx(share, abs=0.003)
        assert (made == 0).mean() == pytest.approx((made == 255).mean(), abs=0.003)


def test_fog_brightens_and_keeps_the_brightest_value() -> None:
    original = image((120, 200))
    np.random.seed(0)
    made = corruption_code.fog(original, 3)
    assert made.max() <= original.max() + 1e-9
    dark = original.mean(-1) < 60
    assert made[dark].mean() > original[dark].mean() + 20
    assert made.std() < original.std()
