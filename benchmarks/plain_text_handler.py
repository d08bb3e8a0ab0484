"""A handler for text detection as one writes it on the first day with TorchServe. See compare.py."""
# mypy: ignore-errors

import os

import cv2
import numpy as np
import onnxruntime
from ts.torch_handler.base_handler import BaseHandler

LONGEST = 960
SHORTEST = 736
THRESHOLD = 0.3
CONFIDENCE = 0.5
UNCLIP = 1.6


class PlainTextHandler(BaseHandler):
    """PP-OCRv6's detector on ONNX Runtime, everything at its default."""

    def initialize(self, context):
        """Open the network."""
        folder = context.system_properties["model_dir"]
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "det.onnx"))  # noqa: PTH118
        self.initialized = True

    def preprocess(self, data):
        """Requests → (picture as the network takes it, width, height)."""
        pictures = []
        for row in data:
            image = row.get("data") or row.get("body")
            image = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            height, width = image.shape[:2]
            scale = min(LONGEST / max(width, height), max(1, SHORTEST / min(width, height)))
            w, h = (max(32, round(side * scale / 32) * 32) for side in (width, height))
            image = (cv2.resize(image, (w, h)).astype(np.float32) / 255 - 0.5) / 0.5
            pictures.append((image.transpose(2, 0, 1)[np.newaxis], width, height))
        return pictures

    def inference(self, data, *args, **kwargs):
        """One call of the network for each picture."""
        return [(self.session.run(None, {"x": picture})[0][0, 0], width, height) for picture, width, height in data]

    def postprocess(self, data):
        """The network's maps → a list of quads for each picture."""
        return [self.regions(*row) for row in data]

    def regions(self, probability, width, height):
        """Every blob above the threshold is a line of text, its smallest rectangle grown to the whole line."""
        mask = (probability > THRESHOLD).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        scale = np.array([width / probability.shape[1], height / probability.shape[0]])
        regions = []
        for contour in contours:
            centre, (w, h), angle = cv2.minAreaRect(contour)
            if min(w, h) < 3:
                continue
            inside = np.zeros(probability.shape, np.uint8)
            cv2.fillPoly(inside, [cv2.boxPoints((centre, (w, h), angle)).astype(np.int32)], 1)
            score = float(probability[inside == 1].mean())
            if score < CONFIDENCE:
                continue
            grown = 2 * w * h * UNCLIP / (2 * (w + h))
            quad = cv2.boxPoints((centre, (w + grown, h + grown), angle)) * scale
            regions.append({"quad": [float(v) for v in quad.ravel()], "score": score})
        return sorted(regions, key=lambda region: region["score"], reverse=True)
