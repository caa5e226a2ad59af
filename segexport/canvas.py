"""A canvas with a pinhole camera that paints an image and its segmentation mask in one stroke.

Points are (x to the right, y up from the ground, z ahead) in metres. A later stroke covers an earlier one, so
painting far to near gives occlusion, and one rasteriser for both planes keeps the mask exactly on the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[float, float, float]
Point = tuple[float, float, float]
Span = tuple[float, float]
Plane = npt.NDArray[np.uint8]


class Canvas:
    """Image (RGB) and mask (L) of one size, under a camera, a light and a haze drawn from `rng`."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], background: int) -> None:
        height, width = size
        self.rng = rng
        self.image = Image.new("RGB", (width, height))
        self.mask = Image.new("L", (width, height), background)
        self._ink = ImageDraw.Draw(self.image)
        self._label = ImageDraw.Draw(self.mask)
        self.focal = rng.uniform(0.75, 1.1) * (width + height) / 2
        self.centre = width * rng.uniform(0.36, 0.64)
        self.horizon = height * rng.uniform(0.44, 0.58)
        self.eye = rng.uniform(1.4, 2.2)
        self.lean = rng.uniform(-0.03, 0.03)
        self.sunny = bool(rng.random() < 0.6)
        self.sun = float(rng.choice((-1.0, 1.0)))
        warm = rng.uniform(-0.04, 0.08)
        self.tint = (1 + warm, 1.0, 1 - warm)
        grey = rng.uniform(160, 225)
        self.haze: Colour = (grey, grey + 4, grey + 10)
        self.fog = rng.uniform(0.003, 0.014)

    def pick(self, colours: Sequence[Colour]) -> Colour:
        """One of the colours, a little off."""
        red, green, blue = colours[int(self.rng.integers(len(colours)))]
        share, *off = self.rng.random(4).tolist()
        gain = 0.85 + 0.27 * share
        return red * gain + 16 * off[0] - 8, green * gain + 16 * off[1] - 8, blue * gain + 16 * off[2] - 8

    def at(self, point: Point) -> tuple[float, float]:
        """Project a point to pixels (u, v)."""
        x, y, z = point
        u, v = self.focal * x / z, self.focal * (self.eye - y) / z
        return self.centre + u - self.lean * v, self.horizon + v + self.lean * u

    def entry(self, x: float) -> float:
        """The depth from which on a thing x metres aside is in the picture."""
        return self.focal * abs(x) / (self.image.width - self.centre if x > 0 else self.centre)

    def pixels(self, metres: float, z: float) -> float:
        """How many pixels a length takes up z metres away."""
        return self.focal * metres / z

    def tone(self, colour: Colour, z: float, light: float = 1.0) -> tuple[int, int, int]:
        """The colour as it looks in this light from z metres away."""
        clear = math.exp(-self.fog * z)
        gain, veil = light * clear, 1 - clear
        (red, green, blue), tint, haze = colour, self.tint, self.haze
        return (
            min(255, int(red * tint[0] * gain + haze[0] * veil)),
            min(255, int(green * tint[1] * gain + haze[1] * veil)),
            min(255, int(blue * tint[2] * gain + haze[2] * veil)),
        )

    def facing(self, side: float) -> float:
        """Light on a wall whose normal points to `side` (-1 left, 1 right)."""
        if not self.sunny:
            return 0.9
        return 1.1 if side == self.sun else 0.7

    def polygon(self, points: Sequence[Point], label: int | None, colour: Colour, light: float = 1.0) -> None:
        """Fill a polygon; a label of None paints the image only, for details inside a shape."""
        outline = [self.at(p) for p in points]
        self._ink.polygon(outline, fill=self.tone(colour, points[0][2], light))
        if label is not None:
            self._label.polygon(outline, fill=label)

    def board(self, x: Span, y: Span, z: float, label: int | None, colour: Colour, light: float = 1.0) -> None:
        """Fill an upright rectangle that faces the camera."""
        corners = ((x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z))
        self.polygon(corners, label, colour, light)

    def wall(self, x: float, y: Span, z: Span, label: int | None, colour: Colour, light: float = 1.0) -> None:
        """Fill an upright rectangle that runs along the line of sight."""
        corners = ((x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0]))
        self.polygon(corners, label, colour, light)

    def floor(self, x: Span, z: Span, label: int | None, colour: Colour, y: float = 0.0) -> None:
        """Fill a rectangle that lies at height y."""
        self.polygon(((x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])), label, colour)

    def disc(self, at: Point, radius: Span, label: int | None, colour: Colour, light: float = 1.0) -> None:
        """Fill an upright ellipse with radii along x and y."""
        u, v = self.at(at)
        a, b = (max(0.5, self.pixels(r, at[2])) for r in radius)
        box = (u - a, v - b, u + a, v + b)
        self._ink.ellipse(box, fill=self.tone(colour, at[2], light))
        if label is not None:
            self._label.ellipse(box, fill=label)

    def rod(self, points: Sequence[Point], thick: float, label: int | None, colour: Colour) -> None:
        """Draw a line `thick` metres wide, never thinner than a pixel."""
        path = [self.at(p) for p in points]
        width = max(1, round(self.pixels(thick, points[0][2])))
        self._ink.line(path, fill=self.tone(colour, points[0][2]), width=width)
        if label is not None:
            self._label.line(path, fill=label, width=width)

    def shade(self, outline: Sequence[Point], labels: Sequence[int], light: float) -> None:
        """Darken what is inside the outline and bears one of the labels."""
        inside = Image.new("L", self.image.size)
        ImageDraw.Draw(inside).polygon([self.at(p) for p in outline], fill=255)
        bearing = self.mask.point([255 if k in labels else 0 for k in range(256)])
        inside.paste(0, mask=bearing.point([255 - k for k in range(256)]))
        self.image.paste(self.image.point([int(k * light) for k in range(256)] * 3), mask=inside)

    def develop(self, texture: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Expose the picture: surface texture, a little blur, uneven light, sensor noise.

        `texture` is float32 [3, labels]: grey levels of fine, middle and coarse noise on each label.
        Returns the image, uint8 [H, W, 3], and the mask, uint8 [H, W].
        """
        rng, (width, height) = self.rng, self.image.size
        mask = np.asarray(self.mask).copy()
        fine = self._noise(1)
        grain = texture[0][mask] * fine
        for strength, cell in zip(texture[1:], (4, 24), strict=True):
            grain += strength[mask] * self._noise(cell)
        centre = rng.uniform(3, 12)
        lens = ImageFilter.Kernel((3, 3), (0.4, 1, 0.4, 1, centre, 1, 0.4, 1, 0.4))
        across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(rng.uniform(-0.08, 0.08))
        down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.uniform(-0.08, 0.08))
        light = np.float32(rng.uniform(0.78, 1.15)) * (1 + across + down)
        # Drawing noise is slow, and one field seen from three corners is as good as three.
        fine *= np.float32(rng.uniform(1, 5))
        sensor = (fine[::-1], fine[:, ::-1], fine[::-1, ::-1])
        picture = np.empty((height, width, 3), np.uint8)
        # Plane by plane: NumPy is many times slower on arrays whose last axis holds three numbers.
        for channel, plane in enumerate(self.image.split()):
            rough = np.clip(np.asarray(plane) + grain, 0, 255).astype(np.uint8)
            soft = np.asarray(Image.fromarray(rough).filter(lens))
            picture[..., channel] = np.clip(soft * light + sensor[channel], 0, 255).astype(np.uint8)
        return picture, mask

    def _noise(self, cell: int) -> npt.NDArray[np.float32]:
        """Noise of deviation about 1 with features of `cell` pixels, float32 [H, W]."""
        width, height = self.image.size
        # Uniform, not normal: drawing normal numbers would take a third of a scene's time.
        shape = (height, width) if cell == 1 else (height // cell + 2, width // cell + 2)
        coarse: npt.NDArray[np.float32] = (self.rng.random(shape, dtype=np.float32) - np.float32(0.5)) * np.float32(
            3.46
        )
        if cell == 1:
            return coarse
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
        field: npt.NDArray[np.float32] = np.asarray(smooth, dtype=np.float32)
        return field
