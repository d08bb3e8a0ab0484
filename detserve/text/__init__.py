"""Text: maps of probability to quads, logits to strings, and the geometry between. Pure functions on arrays."""
