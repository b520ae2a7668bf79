"""Measures of pictures: distances between sets of them, and the features these are taken on."""
