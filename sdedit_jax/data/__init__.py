"""Data sets, read from folders, zips, tfds sets, manifests and published layouts.

Training reads a `Source`: pictures of one size by number. Evaluation reads a `DataSet`: rows with a
picture, and where there are any with mask, guide, label and prompts. Both use the same readers.
"""

from sdedit_jax.data.examples import DataSet, Example
from sdedit_jax.data.patches import pasted
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.data.sets import LAYOUTS, open_data_set

__all__ = ["DataSet", "Example", "LAYOUTS", "Source", "open_data_set", "pasted", "source"]
