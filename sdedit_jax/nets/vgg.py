"""VGG16 up to its last ReLU, without the classifier; tensor names of torchvision.

References:
    Simonyan and Zisserman, Very deep convolutional networks (1409.1556), table 1, column D.
"""

from sdedit_jax.nets.recognition_blocks import Layer

PLAN = (
    Layer(64),
    Layer(64, feature=True),
    Layer(128, pool=2),
    Layer(128, feature=True),
    Layer(256, pool=2),
    Layer(256),
    Layer(256, feature=True),
    Layer(512, pool=2),
    Layer(512),
    Layer(512, feature=True),
    Layer(512, pool=2),
    Layer(512),
    Layer(512, feature=True),
)
"""The features are relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3."""
