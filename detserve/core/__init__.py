"""Core: detections, boxes, and the letterbox that places a picture on a network's input."""
