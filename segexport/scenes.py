"""Street-like scenes drawn from a seed: an image and its exact segmentation mask.

The demo trains on them, the tests measure with them and the golden image of a bundle is one of them, so that
nothing has to be downloaded and nobody's photograph travels with an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from segexport.canvas import Canvas, Colour, Plane, Span

LABELS: tuple[str, ...] = (
    "road", "pavement", "building", "fence", "pole", "sign", "vegetation", "sky", "person", "vehicle",
)  # fmt: skip
PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (190, 153, 153), (153, 153, 153),
    (220, 220, 0), (107, 142, 35), (70, 130, 180), (220, 20, 60), (0, 0, 142),
)  # fmt: skip
ROAD, PAVEMENT, BUILDING, FENCE, POLE, SIGN, VEGETATION, SKY, PERSON, VEHICLE = range(len(LABELS))

# A set of n scenes uses the seeds from its start to start + n - 1. The starts are a million apart, so no
# training run gets as far as a validation scene.
TRAIN_SEED = 0
VALIDATION_SEED = 1_000_000

_NEAR, _FAR = 1.2, 90.0
# How strongly fine, middle and coarse noise shows on each label, in grey levels.
_FINE = (7, 7, 4, 8, 2, 1, 12, 0, 3, 1)
_MIDDLE = (3, 4, 4, 7, 2, 1, 15, 1, 6, 2)
_COARSE = (5, 5, 6, 4, 2, 3, 10, 7, 3, 5)
_TEXTURE = np.array((_FINE, _MIDDLE, _COARSE), np.float32)
_WALLS = ((168, 112, 88), (196, 176, 146), (150, 146, 140), (206, 198, 186), (132, 92, 78), (178, 158, 118))
_PAINTS = ((190, 30, 34), (36, 66, 140), (228, 228, 226), (38, 40, 44), (150, 154, 160), (206, 160, 40))
_CLOTHES = ((40, 46, 70), (170, 50, 50), (60, 110, 150), (214, 196, 160), (50, 50, 54), (220, 140, 60))
_SKINS = ((224, 182, 154), (188, 136, 106), (120, 82, 62))
_PLATES = ((196, 30, 36), (30, 84, 180), (236, 200, 40), (24, 120, 70))


def scene(seed: int, size: tuple[int, int] = (256, 320)) -> tuple[Plane, Plane]:
    """Draw the scene of a seed at `size` (HxW, both at least 32).

    Returns the image, uint8 [H, W, 3] in RGB, and the mask, uint8 [H, W], of indices into `LABELS`.
    The same seed and size give the same pixels.
    """
    if min(size) < 32:
        raise ValueError(f"a scene needs at least 32x32 pixels, not {size[0]}x{size[1]}")
    canvas = Canvas(np.random.default_rng(seed), size, background=SKY)
    road = canvas.rng.uniform(3.0, 5.5)
    kerb = road + canvas.rng.uniform(1.8, 3.4)
    _backdrop(canvas)
    _ground(canvas, road, kerb)
    for side in (-1, 1):
        _roadside(canvas, side, kerb)
    _furnish(canvas, road, kerb)
    return canvas.develop(_TEXTURE)


def write_dataset(folder: Path, count: int, *, seed: int, size: tuple[int, int] = (256, 320)) -> Path:
    """Write scenes `seed` to `seed + count - 1` as `images/NNNN.png` (RGB) and `masks/NNNN.png` (mode L)."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, mask = scene(seed + index, size)
        Image.fromarray(image).save(folder / "images" / f"{index:04d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index:04d}.png")
    return folder


def _backdrop(canvas: Canvas) -> None:
    """Sky, from zenith to horizon, and the hazy skyline that closes the street."""
    rng = canvas.rng
    zenith = np.array((86, 140, 206) if canvas.sunny else (176, 184, 194)) * rng.uniform(0.8, 1.1)
    share = np.clip(np.arange(canvas.image.height) / canvas.horizon, 0, 1)[:, None]
    column = np.clip(zenith * (1 - share) + np.array(canvas.haze) * 1.05 * share, 0, 255).astype(np.uint8)
    canvas.image.paste(Image.fromarray(column[:, None, :]).resize(canvas.image.size))
    for x in np.arange(-60.0, 60.0, 8.0):
        if rng.random() < 0.5:
            canvas.board((x, x + 9), (-3, rng.uniform(5, 16)), _FAR, BUILDING, canvas.pick(_WALLS), 0.9)
        else:
            _foliage(canvas, x + 4, rng.uniform(2, 4), _FAR, rng.uniform(4, 6))


def _ground(canvas: Canvas, road: float, kerb: float) -> None:
    """Verge, pavements, carriageway with its markings, and the shadow of the row that hides the sun."""
    rng, depth = canvas.rng, (_NEAR, _FAR)
    grey = rng.uniform(74, 112)
    stone = grey + rng.uniform(26, 60)
    canvas.floor((-200, 200), depth, VEGETATION, (92, 116, 62), y=0.1)
    canvas.floor((-kerb - 1, kerb + 1), depth, PAVEMENT, (stone, stone - 3, stone - 8), y=0.1)
    for z in np.arange(2.0, 26.0, 1.5):
        for side in (-1, 1):
            seam = ((side * road, 0.1, z), (side * (kerb + 1), 0.1, z))
            canvas.rod(seam, 0.02, None, (stone - 18, stone - 18, stone - 20))
    canvas.floor((-road - 0.18, road + 0.18), depth, PAVEMENT, (stone + 22, stone + 22, stone + 18), y=0.06)
    canvas.floor((-road, road), depth, ROAD, (grey, grey, grey + 4))
    for _ in range(rng.integers(0, 4)):
        x, z = rng.uniform(-road, road - 1.5), rng.uniform(3, 20)
        canvas.floor((x, x + rng.uniform(0.6, 1.5)), (z, z + rng.uniform(1, 5)), None, (grey - 14,) * 3)
    _markings(canvas, road)
    if canvas.sunny:
        steps = [(z, kerb * rng.uniform(-0.3, 0.8)) for z in np.arange(_NEAR, _FAR, 5.0)]
        edge = [(canvas.sun * reach, 0.0, z) for z, reach in steps]
        outer = [(canvas.sun * 200.0, 0.0, z) for z in (_FAR, _NEAR)]
        canvas.shade(edge + outer, (ROAD, PAVEMENT), 0.62)


def _markings(canvas: Canvas, road: float) -> None:
    """Centre line, now and then edge lines and a zebra crossing."""
    rng, paint = canvas.rng, (222.0, 222.0, 214.0)
    dash, gap = rng.uniform(2, 4), rng.uniform(2, 5)
    for z in np.arange(_NEAR + rng.uniform(0, gap), 60, dash + gap):
        canvas.floor((-0.08, 0.08), (z, z + dash), None, paint)
    if rng.random() < 0.5:
        for x in (0.3 - road, road - 0.3):
            canvas.floor((x - 0.07, x + 0.07), (_NEAR, _FAR), None, paint)
    if rng.random() < 0.35:
        z = rng.uniform(5, 16)
        for x in np.arange(0.5 - road, road - 0.5, 1.0):
            canvas.floor((x, x + 0.5), (z, z + 3), None, paint)


def _roadside(canvas: Canvas, side: int, kerb: float) -> None:
    """One side of the street from far to near: houses, and gardens behind fences."""
    rng, z = canvas.rng, _FAR
    gardens = rng.uniform(0.2, 0.6)
    while z > _NEAR:
        near = max(_NEAR, z - rng.uniform(7, 15))
        x = side * (kerb + rng.uniform(0.2, 0.9))
        if z < 0.9 * canvas.entry(x):
            return
        if rng.random() < gardens:
            _garden(canvas, x, (near, z))
        else:
            _house(canvas, x, (near, z))
        z = near


def _house(canvas: Canvas, x: float, z: Span) -> None:
    """A block with its front on the street and, where it stands clear, a gable end towards the camera."""
    rng, side = canvas.rng, 1 if x > 0 else -1
    floors = int(rng.integers(2, 6))
    storey = rng.uniform(2.8, 3.4)
    top = floors * storey + 0.8
    colour, light = canvas.pick(_WALLS), canvas.facing(-side)
    glass: Colour = canvas.pick(((58, 70, 86), (96, 112, 128), (44, 46, 54)))
    canvas.board((x, x + side * 14), (0.0, top), z[0], BUILDING, colour, 0.85)
    canvas.wall(x, (0.0, top), z, BUILDING, colour, light)
    canvas.wall(x, (top - 0.5, top), z, None, colour, light * 0.8)
    if rng.random() < 0.5:
        canvas.wall(x, (0.0, storey * 0.9), z, None, canvas.pick(_PAINTS + _WALLS), light * 0.8)
    columns = np.arange(z[0] + 0.7, z[1] - 1.4, rng.uniform(2.0, 3.0))
    columns = columns[columns > canvas.entry(x) - 1.5]
    # Beyond 32 m a window would be thinner than a pixel, and a band half as dark looks the same.
    band = tuple((c + g) / 2 for c, g in zip(colour, glass, strict=True))
    # Beyond 32 m a window is thinner than a pixel, and a band half as dark looks the same.
    band = ((colour[0] + glass[0]) / 2, (colour[1] + glass[1]) / 2, (colour[2] + glass[2]) / 2)
    for floor in range(floors):
        sill = floor * storey + 0.9
        if z[0] > 32:
            canvas.wall(x, (sill, sill + storey * 0.5), z, None, band, light)
            continue
        for a in columns.tolist():
            canvas.wall(x, (sill, sill + storey * 0.5), (a, a + 1.1), None, glass, light)
        for a in np.arange(1.5, 12, 3.0) if 4 < z[0] < 40 else ():
            canvas.board((x + side * a, x + side * (a + 1)), (sill, sill + storey * 0.5), z[0], None, glass)


def _garden(canvas: Canvas, x: float, z: Span) -> None:
    """Trees and a hedge behind a fence; at times the hedge alone."""
    rng, side = canvas.rng, 1 if x > 0 else -1
    for depth in np.arange(z[1], max(z[0], 3.0), -rng.uniform(2.5, 5)):
        _foliage(canvas, x + side * rng.uniform(2.5, 5), rng.uniform(1.5, 4.5), depth, rng.uniform(1.5, 2.6))
    hedge = rng.uniform(0.9, 2.0)
    canvas.wall(x + side * 0.6, (0.0, hedge), z, VEGETATION, (62, 96, 48), canvas.facing(-side))
    if rng.random() < 0.2:
        return
    height, colour = rng.uniform(1.0, 1.7), canvas.pick(((150, 112, 76), (206, 204, 196), (60, 66, 70)))
    light = canvas.facing(-side)
    canvas.wall(x, (0.0, height), z, FENCE, colour, light)
    for a in np.arange(max(z[0], canvas.entry(x)), min(z[1], 22.0), 0.45).tolist():
        canvas.wall(x, (0.12, height - 0.12), (a, a + 0.14), None, colour, light * 0.62)
    canvas.wall(x, (height - 0.12, height), z, None, colour, light * 1.12)


def _foliage(canvas: Canvas, x: float, y: float, z: float, radius: float) -> None:
    """A crown of overlapping leaves, lighter towards the top, centred on (x, y)."""
    rng = canvas.rng
    green = canvas.pick(((72, 108, 50), (92, 122, 56), (58, 92, 58), (120, 118, 56)))
    for turn in rng.uniform(-1, 1, (3 if z > 40 else 7, 2)).tolist():
        at = (x + turn[0] * radius * 0.65, y + turn[1] * radius * 0.6, z)
        size = radius * rng.uniform(0.4, 0.65)
        canvas.disc(at, (size, size * 0.9), VEGETATION, green, 0.9 + 0.28 * turn[1])


def _tree(canvas: Canvas, x: float, z: float) -> None:
    height = canvas.rng.uniform(3.0, 5.0)
    canvas.rod(((x, 0.0, z), (x, height, z)), 0.28, VEGETATION, (84, 66, 50))
    _foliage(canvas, x, height, z, canvas.rng.uniform(1.2, 2.0))


def _lamp(canvas: Canvas, x: float, z: float) -> None:
    """A street lamp whose arm reaches over the road."""
    height, steel = (
        canvas.rng.uniform(4.5, 7.0),
        canvas.pick(((96, 100, 104), (52, 58, 60), (150, 152, 150))),
    )
    reach = -1.4 if x > 0 else 1.4
    canvas.rod(((x, 0.0, z), (x, height, z)), 0.14, POLE, steel)
    canvas.rod(((x, height, z), (x + reach, height + 0.3, z)), 0.1, POLE, steel)


def _signpost(canvas: Canvas, x: float, z: float) -> None:
    """A pole with a round, triangular or rectangular traffic sign."""
    rng = canvas.rng
    height, size = rng.uniform(2.3, 3.2), rng.uniform(0.35, 0.55)
    plate, white = canvas.pick(_PLATES), (236.0, 236.0, 232.0)
    canvas.rod(((x, 0.0, z), (x, height, z)), 0.09, POLE, (150, 154, 156))
    kind = rng.integers(3)
    if kind == 0:
        canvas.disc((x, height, z), (size, size), SIGN, plate)
        canvas.disc((x, height, z), (size * 0.6, size * 0.6), None, white)
    elif kind == 1:
        for scale, label, colour in ((1.0, SIGN, plate), (0.55, None, white)):
            a, low = size * scale, height - size * scale * 0.7
            canvas.polygon(((x - a, low, z), (x + a, low, z), (x, height + a, z)), label, colour)
    else:
        canvas.board((x - size, x + size), (height - size, height + size), z, SIGN, plate)
        canvas.board((x - size * 0.6, x + size * 0.6), (height - 0.1, height + 0.1), z, None, white)


def _person(canvas: Canvas, x: float, z: float) -> None:
    rng, tall = canvas.rng, canvas.rng.uniform(1.5, 1.9)
    hip, neck, half, stride = tall * 0.48, tall * 0.84, rng.uniform(0.19, 0.25), rng.uniform(0.05, 0.3)
    trousers, shirt = canvas.pick(_CLOTHES), canvas.pick(_CLOTHES)
    for foot in (-stride, stride):
        canvas.rod(((x, hip + 0.05, z), (x + foot, 0.0, z)), 0.17, PERSON, trousers)
    shoulders = ((x - half, neck, z), (x + half, neck, z), (x + half * 0.7, hip, z), (x - half * 0.7, hip, z))
    canvas.polygon(shoulders, PERSON, shirt)
    for arm in (-half, half):
        canvas.rod(((x + arm, neck - 0.05, z), (x + arm * 1.4, hip, z)), 0.1, PERSON, shirt)
    canvas.disc((x, tall - 0.13, z), (0.11, 0.14), PERSON, canvas.pick(_SKINS))


def _vehicle(canvas: Canvas, x: float, z: float) -> None:
    """A car, now and then a van, seen from behind with the flank that faces the middle of the picture."""
    rng = canvas.rng
    van = rng.random() < 0.25
    half, length, belt, roof = (1.0, 5.2, 1.3, 2.3) if van else (0.88, 4.2, 0.92, 1.45)
    paint, black, glass = canvas.pick(_PAINTS), (26.0, 26.0, 28.0), (70.0, 84.0, 98.0)
    flank, inset = x - half if x > 0 else x + half, 0.05 if van else 0.18
    light, cabin = canvas.facing(-1 if x > 0 else 1), (z + inset, z + length * (0.97 if van else 0.72))
    canvas.floor((x - half - 0.1, x + half + 0.1), (z - 0.2, z + length), None, (40, 40, 44))
    canvas.floor((x - half, x + half), (z, z + length), VEHICLE, paint, y=belt)
    top = flank + (inset if x > 0 else -inset)
    canvas.board((x - half + inset, x + half - inset), (belt, roof), cabin[1], VEHICLE, paint, 0.8)
    canvas.wall(flank, (0.3, belt), (z, z + length), VEHICLE, paint, light)
    canvas.wall(top, (belt, roof), cabin, VEHICLE, paint, light)
    canvas.wall(top, (belt + 0.06, roof - 0.12), (cabin[0] + 0.3, cabin[1] - 0.3), None, glass, light)
    for a in (z + 0.5, z + length - 1.2):
        canvas.wall(flank, (0.02, 0.6), (a, a + 0.65), VEHICLE, black)
    canvas.board((x - half + inset, x + half - inset), (belt, roof), z + inset, VEHICLE, paint, 1.05)
    canvas.board((x - half * 0.75, x + half * 0.75), (belt + 0.04, roof - 0.12), z + inset, None, glass)
    canvas.board((x - half, x + half), (0.3, belt), z, VEHICLE, paint, 0.95)
    canvas.board((x - 0.26, x + 0.26), (0.5, 0.62), z, None, (226, 226, 210))
    for a in (-half, half - 0.3):
        canvas.board((x + a, x + a + 0.3), (0.66, 0.84), z, None, (200, 40, 34))
        canvas.board((x + a + 0.02, x + a + 0.26), (0.0, 0.32), z, VEHICLE, black)


def _furnish(canvas: Canvas, road: float, kerb: float) -> None:
    """Everything that stands in the street, placed at random and painted from far to near."""
    rng = canvas.rng
    things: list[tuple[float, float, Callable[[Canvas, float, float], None]]] = []

    def place(draw: Callable[[Canvas, float, float], None], most: int, x: Span, near: float) -> None:
        for _ in range(rng.integers(0, most + 1)):
            aside = float(rng.choice((-1, 1)) * rng.uniform(*x))
            nearest = max(near, 0.8 * canvas.entry(aside))
            # Even on a log scale: as many near things as far ones for the same growth in size.
            things.append((nearest * (60 / nearest) ** rng.random(), aside, draw))

    place(_vehicle, 4, (road - 1.1, road - 0.9), 5.0)
    place(_vehicle, 3, (road * 0.4, road * 0.55), 7.0)
    place(_tree, 4, (road + 0.4, road + 0.8), 6.0)
    place(_lamp, 5, (road + 0.3, road + 0.6), 4.0)
    place(_signpost, 6, (road + 0.3, road + 0.9), 4.0)
    place(_person, 7, (road + 0.6, kerb), 4.0)
    place(_person, 3, (0.0, road), 6.0)
    for depth, x, draw in sorted(things, key=lambda thing: -thing[0]):
        draw(canvas, x, depth)
