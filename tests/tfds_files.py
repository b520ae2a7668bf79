"""A small tfds set on disk, and files of array_record, written without TensorFlow."""

import pytest
from PIL import Image


def prepared(folder, called, images):
    """The folder of a prepared set of pictures 8 x 8 with the labels a, b, a, b .."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class Builder(tfds.core.GeneratorBasedBuilder):
        name, pkg_dir_path, VERSION = called, folder, tfds.core.Version("1.0.0")

        def _info(self):
            label = tfds.features.ClassLabel(names=["a", "b"])
            features = {"image": tfds.features.Image(shape=(8, 8, 3)), "label": label}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, image in enumerate(images):
                yield i, {"image": Image.fromarray(image), "label": i % 2}

    builder = Builder(data_dir=folder / "tfds", file_format="array_record")
    builder.download_and_prepare()
    return builder.data_path


def records(file):
    """The rows of a file of array_record."""
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(str(file))
    rows = list(reader.read_all())
    reader.close()
    return rows


def write_records(file, rows):
    """Write a file of array_record."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(file), "group_size:1")
    for row in rows:
        writer.write(row)
    writer.close()
