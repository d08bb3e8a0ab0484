"""The best server that one builds by hand in a day: FastAPI, uvicorn, OpenVINO. compare.py compares detserve with it.

CENTERFACE=centerface.onnx uvicorn benchmarks.hand_built_server:app --workers 2
"""
# mypy: ignore-errors

import os

import cv2
import numpy as np
import openvino
import orjson
from fastapi import FastAPI, Request, Response

SIZE = 320
CONFIDENCE = 0.5
IOU = 0.3

app = FastAPI()
# OpenVINO computes in bf16 where the processor has it. One thread each, as there is a worker for each core.
core = openvino.Core()
model = core.read_model(os.environ["CENTERFACE"])
model.reshape([1, 3, SIZE, SIZE])
options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
network = core.compile_model(model, "CPU", options).create_infer_request()
cv2.setNumThreads(1)


@app.put("/predictions/fd1")
async def predict(request: Request) -> Response:
    """A picture's bytes → its faces in ratios. Nothing is awaited once the body is there: a worker has one core."""
    picture = cv2.imdecode(np.frombuffer(await request.body(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return Response(orjson.dumps({"error": "not a picture"}), 400, media_type="application/json")
    height, width = picture.shape[:2]
    scale = SIZE / max(width, height)
    inner = round(width * scale), round(height * scale)
    left, top = (SIZE - inner[0]) // 2, (SIZE - inner[1]) // 2
    canvas = np.full((SIZE, SIZE, 3), 114, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner)
    blob = cv2.dnn.blobFromImage(canvas, swapRB=True)
    results = network.infer({0: blob}, share_inputs=True, share_outputs=True)
    found = faces(*(results[i] for i in range(4)), np.array([left, top]), np.array(inner))
    return Response(orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def faces(heatmap, scale, offset, landmarks, corner, inner):
    """The network's maps → what is above the threshold, overlapping ones dropped."""
    y, x = np.nonzero(heatmap[0, 0] > CONFIDENCE)
    conf = heatmap[0, 0, y, x]
    size = np.exp(scale[0, ::-1, y, x]) * 4
    centre = (np.stack([x, y], 1) + offset[0, ::-1, y, x] + 0.5) * 4
    points = landmarks[0, :, y, x].reshape(-1, 5, 2)[..., ::-1] * size[:, None] + (centre - size / 2)[:, None]
    boxes = np.concatenate([centre - size / 2, size], 1)
    kept = np.asarray(cv2.dnn.NMSBoxes(boxes, conf, CONFIDENCE, IOU), int).reshape(-1)
    boxes = np.concatenate([(centre - corner) / inner, size / inner], 1)
    points = ((points - corner) / inner).reshape(-1, 10)
    return [{"xywh_ratio": boxes[i], "conf": conf[i], "landmarks_ratio": points[i]} for i in kept]
