"""Draws the stroke paintings in examples/flowers: `python examples/draw_flowers.py`.

Eight flowers in several styles: three flat colours, eight colours, a child's drawing, and a flower
that the photos of the prior flowers64 do not have.
"""

import math

from draw import Color, Paper, Point, arc, save
from PIL import Image


def main() -> None:
    """Draw every painting."""
    save(paint_daisy(), "flowers/daisy.png")
    save(paint_sunflower(), "flowers/sunflower.png")
    save(paint_dandelion(), "flowers/dandelion.png")
    save(paint_rose(), "flowers/rose.png")
    save(paint_tulip(), "flowers/tulip.png")
    save(paint_sunflower_in_a_field(), "flowers/sunflower_field.png")
    save(paint_childs_flower(), "flowers/child.png")
    save(paint_forget_me_not(), "flowers/forget_me_not.png")


def petals(
    paper: Paper,
    center: Point,
    reach: tuple[float, float],
    count: int,
    width: float,
    color: Color,
    turn: float = 0.0,
) -> None:
    """A ring of strokes from the radius reach[0] to reach[1], the first at `turn` degrees."""
    for k in range(count):
        angle = turn + 360 * k / count + paper.rng.normal(0, 60 / count)
        ends = [arc(center, r * paper.rng.uniform(0.94, 1.06), angle, angle, 1)[0] for r in reach]
        paper.stroke(ends, width, color)


# three flat colours: ground, petals, middle


def paint_daisy() -> Image.Image:
    paper = Paper((52, 92, 40), seed=21)
    petals(paper, (0.5, 0.5), (0.14, 0.38), 17, 0.075, (244, 244, 240))
    paper.blob((0.5, 0.5), (0.13, 0.125), (236, 184, 34))
    return paper.done()


def paint_sunflower() -> Image.Image:
    paper = Paper((88, 136, 196), seed=22)
    petals(paper, (0.5, 0.5), (0.2, 0.41), 20, 0.085, (240, 182, 22))
    paper.blob((0.5, 0.5), (0.21, 0.2), (74, 44, 18))
    return paper.done()


def paint_dandelion() -> Image.Image:
    paper = Paper((46, 78, 42), seed=23)
    paper.stroke([(0.5, 0.5), (0.52, 0.78), (0.5, 1.02)], 0.035, (124, 138, 96))
    paper.blob((0.5, 0.46), (0.38, 0.37), (190, 198, 190))
    paper.blob((0.5, 0.48), (0.1, 0.09), (124, 138, 96))
    return paper.done()


# eight colours


def paint_rose() -> Image.Image:
    paper = Paper((26, 46, 28), seed=24)
    paper.stroke([(0.1, 0.9), (0.3, 0.8), (0.42, 0.86)], 0.16, (46, 82, 40))
    paper.stroke([(0.92, 0.16), (0.84, 0.34), (0.9, 0.5)], 0.14, (66, 106, 52))
    paper.blob((0.5, 0.5), (0.38, 0.36), (176, 34, 62), bumps=0.06)
    for radius, shade in ((0.29, (138, 20, 46)), (0.2, (206, 62, 88)), (0.12, (122, 14, 40))):
        for start in (20, 140, 260):
            turn = start + 400 * radius
            paper.stroke(arc((0.5, 0.48), radius, turn, turn + 95), 0.075, shade)
    paper.stroke(arc((0.48, 0.47), 0.34, 190, 250), 0.07, (232, 122, 140))
    paper.stroke(arc((0.5, 0.48), 0.05, 0, 250), 0.045, (232, 122, 140))
    return paper.done()


def paint_tulip() -> Image.Image:
    paper = Paper((150, 176, 132), seed=25)
    paper.stroke([(-0.02, 0.86), (0.5, 0.93), (1.02, 0.84)], 0.32, (84, 122, 66))
    paper.stroke([(0.5, 0.6), (0.51, 0.8), (0.5, 1.03)], 0.055, (104, 146, 70))
    paper.stroke([(0.56, 1.0), (0.72, 0.76), (0.8, 0.5)], 0.08, (58, 100, 54))
    paper.blob((0.5, 0.43), (0.25, 0.29), (214, 52, 44))
    paper.stroke([(0.3, 0.56), (0.29, 0.34), (0.36, 0.14)], 0.12, (184, 32, 34))
    paper.stroke([(0.7, 0.56), (0.71, 0.34), (0.64, 0.14)], 0.12, (184, 32, 34))
    paper.stroke([(0.5, 0.64), (0.46, 0.4), (0.5, 0.14)], 0.17, (230, 86, 60))
    paper.stroke([(0.44, 0.54), (0.43, 0.38), (0.47, 0.24)], 0.045, (244, 148, 108))
    return paper.done()


def paint_sunflower_in_a_field() -> Image.Image:
    paper = Paper((126, 170, 216), seed=26)
    paper.stroke([(0.0, 0.14), (0.3, 0.1), (0.5, 0.16)], 0.1, (232, 238, 244))
    paper.stroke([(-0.05, 0.92), (0.5, 0.86), (1.05, 0.92)], 0.34, (72, 116, 46))
    paper.stroke([(0.5, 0.5), (0.47, 0.8), (0.5, 1.03)], 0.06, (112, 150, 62))
    paper.stroke([(0.48, 0.9), (0.7, 0.82), (0.88, 0.9)], 0.12, (112, 150, 62))
    petals(paper, (0.5, 0.44), (0.16, 0.38), 18, 0.075, (214, 142, 16))
    petals(paper, (0.5, 0.44), (0.16, 0.33), 18, 0.06, (248, 200, 40), turn=10)
    paper.blob((0.5, 0.44), (0.18, 0.17), (92, 56, 22))
    paper.blob((0.5, 0.44), (0.09, 0.085), (50, 32, 18))
    return paper.done()


# a child's drawing


def paint_childs_flower() -> Image.Image:
    paper = Paper((166, 208, 240), seed=27)
    paper.stroke([(-0.05, 0.95), (0.3, 0.92), (0.7, 0.96), (1.05, 0.93)], 0.2, (84, 170, 60))
    paper.stroke(arc((0.04, 0.04), 0.06, 0, 360), 0.16, (255, 222, 60))
    paper.stroke([(0.52, 0.5), (0.5, 0.7), (0.53, 0.95)], 0.05, (40, 130, 50))
    for side in (-1, 1):
        leaf = [(0.51, 0.82), (0.51 + side * 0.14, 0.7), (0.51 + side * 0.2, 0.74)]
        paper.stroke(leaf, 0.07, (40, 130, 50))
    for k in range(6):
        x, y = arc((0.52, 0.4), 0.2, 30 + 60 * k, 30 + 60 * k, 1)[0]
        paper.blob((x, y), (0.125, 0.12), (234, 70, 140), bumps=0.06)
    paper.blob((0.52, 0.4), (0.115, 0.11), (255, 214, 40), bumps=0.05)
    return paper.done()


# not in the data


def paint_forget_me_not() -> Image.Image:
    paper = Paper((70, 104, 58), seed=28)
    paper.stroke([(0.04, 0.2), (0.2, 0.4), (0.1, 0.62)], 0.14, (98, 138, 76))
    paper.stroke([(0.98, 0.66), (0.82, 0.84), (0.9, 1.0)], 0.16, (50, 80, 46))
    for k in range(5):
        x, y = arc((0.5, 0.49), 0.215, 72 * k - 90, 72 * k - 90, 1)[0]
        paper.blob((x, y), (0.165, 0.16), (98, 142, 222), bumps=0.04)
    for k in range(5):
        angle = 72 * k - 90
        inner, outer = (arc((0.5, 0.49), r, angle, angle, 1)[0] for r in (0.1, 0.26))
        paper.stroke([inner, outer], 0.045, (150, 184, 240))
    petals(paper, (0.5, 0.49), (0.03, 0.095), 5, 0.045, (246, 246, 250), turn=math.degrees(-0.9))
    paper.blob((0.5, 0.49), (0.06, 0.058), (244, 204, 60))
    return paper.done()


if __name__ == "__main__":
    main()
