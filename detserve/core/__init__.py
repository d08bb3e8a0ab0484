"""Arrays: what was found, boxes, and how a picture lies on a network's input."""
