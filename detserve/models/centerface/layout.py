"""How CenterFace's outputs are laid out. Free of PyTorch, because the decode in numpy needs it too."""

STRIDE = 4
"""Pixels of the input for each cell of the maps."""
