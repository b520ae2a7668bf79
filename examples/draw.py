"""Draws the example inputs in this folder: `python examples/draw.py`.

All are drawn by code with fixed seeds: stroke paintings and sketches by thick strokes, "photos"
as shaded, speckled fruit on white ground, like the photos that the prior fruits64 has learned.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SIZE = 256
FINE = 4  # drawn this many times larger, then reduced
WHITE = (255, 255, 255)
Color = tuple[int, int, int]
Point = tuple[float, float]


def main() -> None:
    """Draw every example."""
    draw_strokes()
    draw_scribble()
    draw_composite()
    draw_inpaint()
    draw_outpaint()
    draw_recolor()
    draw_sketch()


def save(image: Image.Image, name: str) -> None:
    """Write an example, in the format of its suffix."""
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {".png": {"optimize": True}, ".jpg": {"quality": 92}, ".webp": {"quality": 92}}
    image.save(path, **options[path.suffix])


# Painting: strokes are in units of the picture's side.


class Paper:
    """A canvas to paint on with thick, round strokes of slightly uneven width."""

    def __init__(self, background: Color | None = WHITE, seed: int = 0) -> None:
        fill = (0, 0, 0, 0) if background is None else (*background, 255)
        self.image = Image.new("RGBA", (SIZE * FINE, SIZE * FINE), fill)
        self.pen = ImageDraw.Draw(self.image)
        self.rng = np.random.default_rng(seed)

    def stroke(self, points: list[Point], width: float, color: Color) -> None:
        """A smooth stroke through the points."""
        path = smooth(np.array(points)) * SIZE * FINE
        wobble = np.interp(
            np.linspace(0, 4, len(path)), np.arange(5), self.rng.uniform(0.85, 1.12, 5)
        )
        for (x, y), scale in zip(path, wobble, strict=True):
            r = width * scale * SIZE * FINE / 2
            self.pen.ellipse((x - r, y - r, x + r, y + r), fill=(*color, 255))

    def blob(self, center: Point, radii: Point, color: Color, bumps: float = 0.03) -> None:
        """A filled, slightly uneven ellipse."""
        angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        radius = 1 + sum(
            self.rng.normal(0, bumps / k) * np.cos(k * angle + self.rng.uniform(0, 6.3))
            for k in (2, 3, 4, 5)
        )
        xy = np.array(center) + (radius * np.array([np.cos(angle), np.sin(angle)])).T * radii
        self.pen.polygon([tuple(p) for p in xy * SIZE * FINE], fill=(*color, 255))

    def done(self, mode: str = "RGB") -> Image.Image:
        """The painting at its final size."""
        # boxes do not ring: alpha stays 0 right beside a stroke
        return self.image.resize((SIZE, SIZE), Image.Resampling.BOX).convert(mode)


def smooth(points: np.ndarray) -> np.ndarray:
    """A dense Catmull-Rom curve through [N, 2] points."""
    p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    u = np.linspace(0, 1, 80, endpoint=False)[:, None]
    parts = [
        0.5
        * (
            2 * b
            + (c - a) * u
            + (2 * a - 5 * b + 4 * c - d) * u**2
            + (3 * b - a - 3 * c + d) * u**3
        )
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    return np.concatenate([*parts, points[-1:]])


def arc(center: Point, radius: float, start: float, stop: float, count: int = 7) -> list[Point]:
    """Points on a circle; degrees, clockwise from the right."""
    angle = np.radians(np.linspace(start, stop, count))
    return [(center[0] + radius * np.cos(a), center[1] + radius * np.sin(a)) for a in angle]


def draw_strokes() -> None:
    """Four stroke paintings of few flat colours."""
    save(paint_red_apple(), "strokes/red_apple.png")
    save(paint_green_apple(), "strokes/green_apple.png")
    save(paint_tomato(), "strokes/tomato.png")
    save(paint_cherry(), "strokes/cherry.png")


def paint_red_apple() -> Image.Image:
    paper = Paper(seed=1)
    paper.blob((0.5, 0.53), (0.41, 0.41), (176, 24, 30))
    paper.stroke(arc((0.5, 0.53), 0.33, 20, 140), 0.15, (112, 12, 22))
    paper.stroke(arc((0.48, 0.52), 0.25, 150, 275), 0.17, (210, 44, 40))
    paper.stroke([(0.56, 0.2), (0.66, 0.34), (0.68, 0.5)], 0.08, (222, 120, 62))
    paper.stroke([(0.42, 0.18), (0.5, 0.22), (0.58, 0.17)], 0.06, (92, 26, 18))
    paper.stroke([(0.5, 0.21), (0.51, 0.13), (0.55, 0.06)], 0.028, (74, 48, 26))
    paper.stroke([(0.31, 0.36), (0.36, 0.31)], 0.075, (248, 206, 196))
    return paper.done()


def paint_green_apple() -> Image.Image:
    paper = Paper(seed=2)
    paper.blob((0.5, 0.53), (0.42, 0.4), (176, 188, 84))
    paper.stroke(arc((0.5, 0.53), 0.32, 15, 130), 0.16, (118, 134, 50))
    paper.stroke(arc((0.47, 0.5), 0.23, 170, 290), 0.19, (206, 212, 118))
    paper.stroke([(0.72, 0.36), (0.78, 0.5), (0.73, 0.64)], 0.1, (204, 128, 70))
    paper.stroke([(0.43, 0.22), (0.5, 0.25), (0.57, 0.21)], 0.055, (96, 98, 40))
    paper.stroke([(0.5, 0.24), (0.49, 0.15), (0.45, 0.07)], 0.028, (84, 62, 34))
    paper.stroke([(0.33, 0.37), (0.37, 0.33)], 0.075, (240, 242, 208))
    return paper.done()


def paint_tomato() -> Image.Image:
    paper = Paper(seed=3)
    paper.blob((0.5, 0.54), (0.44, 0.38), (212, 36, 18))
    paper.stroke(arc((0.5, 0.52), 0.34, 25, 150), 0.14, (150, 18, 12))
    paper.stroke([(0.24, 0.5), (0.27, 0.38), (0.36, 0.31)], 0.14, (236, 76, 36))
    for x, y in [(0.27, 0.24), (0.36, 0.4), (0.54, 0.43), (0.68, 0.33), (0.73, 0.19)]:
        bend = ((0.5 + x) / 2, (0.22 + y) / 2 - 0.03)
        paper.stroke([(0.5, 0.23), bend, (x, y)], 0.042, (58, 104, 40))
    paper.stroke([(0.5, 0.24), (0.52, 0.16), (0.56, 0.09)], 0.045, (88, 132, 56))
    paper.stroke([(0.68, 0.48), (0.72, 0.53)], 0.07, (255, 214, 196))
    return paper.done()


def paint_cherry() -> Image.Image:
    paper = Paper(seed=4)
    paper.blob((0.5, 0.53), (0.42, 0.41), (234, 178, 74))
    paper.stroke([(0.75, 0.3), (0.79, 0.5), (0.68, 0.73), (0.5, 0.82)], 0.2, (196, 44, 36))
    paper.stroke([(0.62, 0.27), (0.66, 0.5), (0.54, 0.68)], 0.12, (222, 108, 54))
    paper.stroke(arc((0.48, 0.52), 0.27, 165, 240), 0.14, (246, 208, 110))
    paper.stroke([(0.46, 0.2), (0.52, 0.22), (0.57, 0.19)], 0.05, (150, 84, 40))
    paper.stroke([(0.35, 0.37), (0.39, 0.33)], 0.075, (255, 246, 218))
    return paper.done()


# "Photos": a shaded ball whose outline is uneven and sinks in at the stem.


def photo(
    skin: Color,
    blush: Color,
    seed: int,
    *,
    width: float = 0.45,
    height: float = 0.44,
    dent: float = 0.13,
    streaks: float = 0.35,
    stem: bool = True,
) -> Image.Image:
    """A fruit with two skin colours on white ground.

    Args:
        skin: colour of the left side.
        blush: colour of the right side.
        seed: of outline, streaks and specks.
        width: half axis, in picture sides.
        height: half axis, in picture sides.
        dent: how far the outline sinks in at the top.
        streaks: how strongly the two colours mix in streaks from the stem.
        stem: draw one.
    """
    rng = np.random.default_rng(seed)
    side = SIZE * 2
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    x, y = x / width, (y - 0.02) / height
    angle = np.arctan2(x, -y)  # 0 at the top
    outline = 1 - dent * np.exp(-((angle / 0.45) ** 2))
    for k in (2, 3, 4):
        outline = outline + rng.normal(0, 0.02 / k) * np.cos(k * angle + rng.uniform(0, 6.3))
    rho = np.hypot(x, y) / outline
    shade, shine = light(x / outline, y / outline, np.sqrt(np.clip(1 - rho**2, 0, 1)))
    pole = np.hypot(x, (y + 0.72) * 1.6)  # the dimple at the stem
    shade = shade * (1 - 0.55 * np.exp(-((pole / 0.2) ** 2)))
    mix = np.clip(0.5 + 0.8 * x - 0.2 * y + streaks * streaky(x, y, rng), 0, 1)[..., None]
    color = (1 - mix) * np.array(skin) + mix * np.array(blush)
    color = color * (1 + 0.05 * specks(side, rng))[..., None]
    body = color * shade[..., None] + 255 * shine[..., None]
    cover = np.clip((1 - rho) * side * 0.4, 0, 1)[..., None]
    pixels = np.clip(body * cover + 255 * (1 - cover), 0, 255)
    image = Image.fromarray(np.rint(pixels).astype(np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.LANCZOS
    )
    return with_stem(image, seed) if stem else image


def light(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shading and highlight of a surface with normal (x, y, z), light from the upper left."""
    sun = np.array([-0.4, -0.5, 0.77])
    half = (sun + [0, 0, 1]) / np.linalg.norm(sun + [0, 0, 1])
    toward = x * sun[0] + y * sun[1] + z * sun[2]
    gloss = np.clip(x * half[0] + y * half[1] + z * half[2], 0, 1)
    shade = 0.22 + 0.85 * np.clip(0.15 + 0.85 * toward, 0, 1)
    return shade, 0.75 * gloss**90 + 0.1 * gloss**12


def streaky(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise along the lines from the stem to the bottom."""
    turn = np.arctan2(x, 1.25 + y) * 60
    return np.interp(turn, np.arange(-100, 101), rng.normal(0, 1, 201))


def specks(side: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of two sizes, [side, side]."""
    total = np.zeros((side, side))
    for cells in (24, 80):
        coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return total / 2


def with_stem(image: Image.Image, seed: int) -> Image.Image:
    """The fruit with a short brown stem."""
    paper = Paper(None, seed)
    paper.stroke([(0.5, 0.24), (0.505, 0.14), (0.53, 0.055)], 0.026, (70, 46, 28))
    paper.stroke([(0.495, 0.22), (0.5, 0.14), (0.522, 0.065)], 0.009, (134, 98, 62))
    layer = paper.done("RGBA")
    image.paste(layer, (0, 0), layer)
    return image


def red_apple() -> Image.Image:
    return photo((206, 50, 44), (140, 14, 26), seed=11, streaks=0.3)


def tomato() -> Image.Image:
    return photo(
        (226, 46, 24), (190, 20, 14), seed=12, width=0.46, height=0.42, streaks=0.05, stem=False
    )


def draw_scribble() -> None:
    """An apple, and a yellow cheek painted on it: as layer, painted picture and mask."""
    apple = red_apple()
    paper = Paper(None, seed=5)
    paper.stroke(arc((0.5, 0.56), 0.22, 10, 100), 0.17, (226, 178, 70))
    paper.stroke([(0.6, 0.5), (0.68, 0.44)], 0.1, (226, 178, 70))
    layer = paper.done("RGBA")
    painted = apple.copy()
    painted.paste(layer, (0, 0), layer)
    mask = layer.getchannel("A").point(lambda a: 255 if a else 0)
    save(apple, "scribble/apple.png")
    save(layer, "scribble/strokes/apple.png")
    save(painted, "scribble/painted/apple.png")
    save(mask, "scribble/masks/apple.png")


def draw_composite() -> None:
    """A tomato and the green star to be laid on its top."""
    save(tomato(), "composite/tomato.jpg")
    paper = Paper(None, seed=6)
    for turn, length in [(-10, 0.36), (62, 0.3), (118, 0.32), (180, 0.34), (262, 0.28)]:
        bend = 14 if turn < 100 else -14
        points = [arc((0.5, 0.5), length * k, turn + bend * k, turn, 2)[0] for k in (0.5, 1, 1.25)]
        paper.stroke([(0.5, 0.5), *points], 0.085, (52, 92, 38))
        paper.stroke([(0.5, 0.5), *points[:2]], 0.035, (92, 138, 62))
    paper.blob((0.5, 0.5), (0.09, 0.08), (112, 150, 76))
    star = paper.done("RGBA").resize((128, 128), Image.Resampling.BOX)
    save(star, "composite/patches/star.png")


def draw_inpaint() -> None:
    """An apple with two white scratches, and the mask of the scratches."""
    apple = photo((214, 178, 78), (196, 52, 40), seed=13)
    paper, mask = Paper(None, seed=7), Paper((0, 0, 0), seed=7)
    for points in ([(0.22, 0.62), (0.42, 0.5), (0.6, 0.58)], [(0.6, 0.3), (0.72, 0.44)]):
        paper.stroke(points, 0.1, WHITE)
    mask.rng = np.random.default_rng(7)
    for points in ([(0.22, 0.62), (0.42, 0.5), (0.6, 0.58)], [(0.6, 0.3), (0.72, 0.44)]):
        mask.stroke(points, 0.13, WHITE)
    layer = paper.done("RGBA")
    apple.paste(layer, (0, 0), layer)
    save(apple, "inpaint/apple.webp")
    save(mask.done("L").point(lambda v: 255 if v > 127 else 0), "inpaint/masks/apple.png")


def draw_outpaint() -> None:
    """A red apple without its left quarter."""
    save(red_apple().crop((SIZE // 4, 0, SIZE, SIZE)), "outpaint/apple.jpg")


def draw_recolor() -> None:
    """A red apple, and a green one whose colours it shall get."""
    save(red_apple(), "recolor/apple.jpg")
    green = photo((186, 196, 92), (148, 164, 66), seed=14, streaks=0.15)
    save(green, "recolor/references/green.jpg")


def draw_sketch() -> None:
    """Line drawings of an apple and a tomato, and colour hints."""
    ink, line = (40, 34, 38), 0.018
    apple = Paper(seed=8)
    outline = [(0.5, 0.2), (0.36, 0.14), (0.18, 0.22), (0.09, 0.45), (0.14, 0.7), (0.3, 0.9)]
    outline += [(0.45, 0.92), (0.5, 0.9), (0.55, 0.92), (0.7, 0.9), (0.86, 0.7), (0.91, 0.45)]
    outline += [(0.82, 0.22), (0.64, 0.14), (0.5, 0.2)]
    apple.stroke(outline, line, ink)
    apple.stroke([(0.38, 0.19), (0.5, 0.27), (0.62, 0.19)], line, ink)
    apple.stroke([(0.5, 0.24), (0.51, 0.14), (0.55, 0.05)], 1.6 * line, ink)
    save(apple.done("L"), "sketch/apple.png")
    hints = Paper(None, seed=8)
    hints.stroke([(0.3, 0.5), (0.5, 0.6), (0.7, 0.5)], 0.06, (186, 32, 34))
    hints.stroke([(0.46, 0.215), (0.54, 0.215)], 0.02, (120, 20, 24))
    save(hints.done("RGBA"), "sketch/hints/apple.png")


if __name__ == "__main__":
    main()
