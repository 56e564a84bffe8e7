"""Measure which transfer-learning strategy works on your images and your pretrained network."""

__version__ = "0.1.0"
