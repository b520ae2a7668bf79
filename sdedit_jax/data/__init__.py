"""Data sets, read from folders, zips, tfds sets, manifests and published layouts"""
