"""Structural similarity (SSIM) of pictures.

With means m, variances s^2 and the covariance c of two pictures in a window,

    SSIM = (2 m_a m_b + C_1) (2 c + C_2) / ((m_a^2 + m_b^2 + C_1) (s_a^2 + s_b^2 + C_2)),

C_1 = (K_1 L)^2, C_2 = (K_2 L)^2, K_1 = 0.01, K_2 = 0.03, L = 1. The window is a normal distribution
of 11 x 11 pixels and sigma 1.5. Variances are those of the window's weights, without a correction
for samples. Colour channels are taken by themselves.

References:
    Wang et al., Image quality assessment (2004).
"""

import numpy as np

RADIUS = 5
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM of the windows inside the pictures, the mean over the channels.

    Args:
        a, b: uint8 [B, H, W, C].

    Returns:
        float64 [B, H - 10, W - 10]; the entry [i, j] is that of the window around (i + 5, j + 5).

    Raises:
        ValueError: pictures smaller than a window.
    """
    least = 2 * RADIUS + 1
    if min(a.shape[1:3]) < least:
        raise ValueError(f"ssim needs pictures of {least}x{least} pixels at least, got {a.shape}")
    a, b = a / 255.0, b / 255.0
    mean_a, mean_b = _weighted(a), _weighted(b)
    variances = _weighted(a * a) - mean_a**2 + _weighted(b * b) - mean_b**2
    covariance = _weighted(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return (alike / ((mean_a**2 + mean_b**2 + C1) * (variances + C2))).mean(-1)


def _weighted(values: np.ndarray) -> np.ndarray:
    """The weighted means of the windows inside."""
    from scipy.ndimage import gaussian_filter

    found = gaussian_filter(values, SIGMA, radius=RADIUS, axes=(1, 2))
    return found[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
