"""Measures of a picture by its text, from embeddings of CLIP.

Functions of arrays alone. The name of the network belongs beside every number: another one gives
other values.

References:
    Hessel et al., CLIPScore (2104.08718); here without their factor of 2.5, and with 100.
    Gal et al., StyleGAN-NADA (2108.00946), the directional similarity.
"""

import numpy as np

CLIP_SCORE = "100 times the cosine of the embeddings of picture and text, or 0 if it is negative"
DIRECTIONAL = (
    "cosine of the change of the picture's embedding and the change of the text's; nan where"
    " nothing changes"
)


def clip_score(pictures: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """max(100 cos(picture, text), 0) of each row: float64 [B] in [0, 100].

    Args:
        pictures, texts: embeddings [B, D]; their lengths do not matter.

    Raises:
        ValueError: other shapes.
    """
    return np.maximum(100 * _cosines(pictures=pictures, texts=texts), 0)


def directional(
    before: np.ndarray, after: np.ndarray, text_before: np.ndarray, text_after: np.ndarray
) -> np.ndarray:
    """cos(after - before, text_after - text_before) of each row: float64 [B] in [-1, 1].

    Args:
        before, after: unit embeddings [B, D] of the picture before and after the edit.
        text_before, text_after: unit embeddings [B, D] of the texts of the two.

    Returns:
        nan in rows whose pictures, or texts, are equal.

    Raises:
        ValueError: other shapes.
    """
    _check(before=before, after=after, text_before=text_before, text_after=text_after)
    change = np.asarray(after, np.float64) - before
    return _cosines(change=change, text=np.asarray(text_after, np.float64) - text_before)


def _cosines(**two: np.ndarray) -> np.ndarray:
    _check(**two)
    a, b = (np.asarray(rows, np.float64) for rows in two.values())
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.sum(a * b, axis=1)
    cosines = np.divide(products, lengths, out=np.full(len(a), np.nan), where=lengths > 0)
    return np.clip(cosines, -1, 1)


def _check(**rows: np.ndarray) -> None:
    shapes = [np.shape(one) for one in rows.values()]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(f"{', '.join(rows)} must be embeddings [B, D] of one shape, got {shapes}")
