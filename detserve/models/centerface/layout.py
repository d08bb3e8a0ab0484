"""How CenterFace's outputs are laid out; free of PyTorch, for the decode on either side."""

STRIDE = 4
"""Pixels of the input a cell of the maps."""
