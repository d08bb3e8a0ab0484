"""A handler as one writes it on the first day with TorchServe. compare.py compares detserve with it."""
# mypy: ignore-errors

import os

import cv2
import numpy as np
import onnxruntime
from ts.torch_handler.base_handler import BaseHandler

SIZE = 320
CONFIDENCE = 0.5
IOU = 0.3


class PlainHandler(BaseHandler):
    """CenterFace on ONNX Runtime, everything at its default."""

    def initialize(self, context):
        """Open the network."""
        folder = context.system_properties["model_dir"]
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "centerface.onnx"))  # noqa: PTH118
        self.initialized = True

    def preprocess(self, data):
        """Requests → (picture as the network takes it, width, height)."""
        pictures = []
        for row in data:
            image = row.get("data") or row.get("body")
            image = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            height, width = image.shape[:2]
            image = cv2.cvtColor(cv2.resize(image, (SIZE, SIZE)), cv2.COLOR_BGR2RGB)
            pictures.append((image.transpose(2, 0, 1)[np.newaxis].astype(np.float32), width, height))
        return pictures

    def inference(self, data, *args, **kwargs):
        """One call of the network for each picture."""
        return [(self.session.run(None, {"input.1": picture}), width, height) for picture, width, height in data]

    def postprocess(self, data):
        """The network's maps → a list of faces for each picture."""
        return [self.faces(*outputs, width, height) for outputs, width, height in data]

    def faces(self, heatmap, scale, offset, landmarks, width, height):
        """Every cell above the threshold is a face; overlapping ones are dropped."""
        faces = []
        for y, x in zip(*np.where(heatmap[0, 0] > CONFIDENCE), strict=True):
            h, w = np.exp(scale[0, :, y, x]) * 4
            cx = (x + offset[0, 1, y, x] + 0.5) * 4
            cy = (y + offset[0, 0, y, x] + 0.5) * 4
            points = []
            for i in range(5):
                points.append(float(landmarks[0, 2 * i + 1, y, x] * w + cx - w / 2) / SIZE * width)
                points.append(float(landmarks[0, 2 * i, y, x] * h + cy - h / 2) / SIZE * height)
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            box = [float(v) / SIZE * side for v, side in zip(box, [width, height] * 2, strict=True)]
            faces.append({"box": box, "score": float(heatmap[0, 0, y, x]), "landmarks": points})
        faces.sort(key=lambda face: face["score"], reverse=True)
        kept = []
        for face in faces:
            if all(overlap(face["box"], other["box"]) < IOU for other in kept):
                kept.append(face)
        return kept


def overlap(a, b):
    """Intersection over union of two boxes."""
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = w * h
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
