"""AlexNet up to its last ReLU, without the classifier; tensor names of torchvision.

References:
    Krizhevsky, One weird trick for parallelizing convolutional neural networks (1404.5997).
"""

from sdedit_jax.nets.recognition_blocks import Layer

PLAN = (
    Layer(64, size=11, stride=4, padding=2, feature=True),
    Layer(192, size=5, pool=3, feature=True),
    Layer(384, pool=3, feature=True),
    Layer(256, feature=True),
    Layer(256, feature=True),
)
"""The features are relu1 to relu5."""
