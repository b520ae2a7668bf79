"""Regions of a line drawing: colours that spread up to the lines, and enclosed regions."""

import numpy as np


def spread(seeds: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """The nearest seed of each pixel, along paths of 4-neighbours that do not cross walls.

    Args:
        seeds: bool [H, W].
        walls: bool [H, W]; seeds on walls are ignored.

    Returns:
        int [H, W]: flat index of the seed, -1 on walls and where no seed reaches.
    """
    wide = seeds.shape[1] + 2
    # a frame of walls keeps the neighbours of border pixels inside the array
    source = np.pad(np.where(walls, -2, -1), 1, constant_values=-2).ravel()
    front = np.flatnonzero(np.pad(seeds & ~walls, 1))
    source[front] = np.flatnonzero(seeds & ~walls)
    while front.size:
        near = (front + np.array([[-1], [1], [-wide], [wide]])).ravel()
        from_ = np.tile(source[front], 4)
        new = source[near] == -1
        front, first = np.unique(near[new], return_index=True)
        source[front] = from_[new][first]
    return np.maximum(source, -1).reshape(-1, wide)[1:-1, 1:-1]


def rim(shape: tuple[int, int]) -> np.ndarray:
    """The outermost pixels of a picture: bool [H, W]."""
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def enclosed(walls: np.ndarray) -> np.ndarray:
    """Number the regions that walls enclose, 0 for the largest.

    Args:
        walls: bool [H, W].

    Returns:
        int [H, W]; -1 on walls and in the background, which is connected with the border.
    """
    root = components(~walls)
    ground = np.unique(root[rim(walls.shape)])
    inside = ~walls & ~np.isin(root, ground)
    _, region, size = np.unique(root[inside], return_inverse=True, return_counts=True)
    rank = np.empty(len(size), int)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(size))
    number = np.full(walls.shape, -1)
    number[inside] = rank[region]
    return number


def components(free: np.ndarray) -> np.ndarray:
    """Label the 4-connected regions of bool [H, W].

    Returns:
        int [H, W]: all pixels of a region have the flat index of one of them; -1 where not free.
    """
    index = np.arange(free.size).reshape(free.shape)
    right, down = free[:, :-1] & free[:, 1:], free[:-1] & free[1:]
    a = np.concatenate([index[:, :-1][right], index[:-1][down]])
    b = np.concatenate([index[:, 1:][right], index[1:][down]])
    root = index.ravel()
    while a.size:
        # each root takes a smaller neighbouring root, then every pixel looks up its new root
        root[np.maximum(a, b)] = np.minimum(a, b)
        while not np.array_equal(root, root[root]):
            root = root[root]
        a, b = root[a], root[b]
        a, b = a[a != b], b[a != b]
    return np.where(free, root.reshape(free.shape), -1)
