"""CRAFT: words from maps of characters and of the links between them."""

from detserve.models.craft.spec import SPECS, Craft, CraftRefined

__all__ = ["SPECS", "Craft", "CraftRefined"]
