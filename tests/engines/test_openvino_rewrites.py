"""Nodes that are rewritten for OpenVINO compute what they did, and what is not meant is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as op

from detserve.engines.openvino_rewrites import rewrite


def kinds(model: Any) -> set[str]:
    return {operation.get_type_name() for operation in model.get_ops()}


def run(model: Any, x: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(x)["out"])


def enlarged(kernel: int, stride: int, channels: int, end: str, bias: bool = True, pad: int = 0) -> Any:
    """A transposed convolution of open sides, and what follows it in a map's last layers."""
    random = np.random.default_rng(channels)
    x = op.parameter([-1, 3, -1, -1], np.float32)
    weights = op.constant(random.normal(size=(3, channels, kernel, kernel)).astype(np.float32))
    y = op.convolution_backprop_data(x, weights, [stride, stride], pads_begin=[pad, pad], pads_end=[pad, pad])
    if bias:
        y = op.add(y, op.constant(random.normal(size=(1, channels, 1, 1)).astype(np.float32)))
    y = {"relu": op.relu, "sigmoid": op.sigmoid, "none": lambda same: same, "exp": op.exp}[end](y)
    y.output(0).set_names({"out"})
    return openvino.Model([op.result(y)], [x], "enlarged")


@settings(max_examples=5)
@given(
    st.integers(1, 3), st.integers(1, 5), st.sampled_from(["relu", "sigmoid", "none", "exp"]), st.booleans(),
    st.integers(1, 9), st.integers(1, 9),
)  # fmt: skip
def test_a_transposed_convolution_without_overlap_is_the_same_without_it(
    k: int, channels: int, end: str, bias: bool, height: int, width: int
) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)
    wanted = run(enlarged(k, k, channels, end, bias), x)
    model = enlarged(k, k, channels, end, bias)
    rewrite(model)
    assert "ConvolutionBackpropData" not in kinds(model)
    np.testing.assert_allclose(run(model, x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, 0), (2, 1, 0), (2, 2, 1)])
def test_one_whose_kernels_overlap_or_that_is_cropped_stays(kernel: int, stride: int, pad: int) -> None:
    model = enlarged(kernel, stride, 2, "relu", pad=pad)
    rewrite(model)
    assert "ConvolutionBackpropData" in kinds(model)


def largest(axis: int, k: int = 1, mode: str = "max", keep_values: bool = False, classes: int = 7) -> Any:
    x = op.parameter([-1, -1, classes], np.float32)
    top = op.topk(x, op.constant(np.int64(k)), axis, mode, "value", "i64")
    places = op.convert(top.output(1), "f32")
    places.output(0).set_names({"out"})
    results = [op.result(places)] + ([op.result(top.output(0))] if keep_values else [])
    return openvino.Model(results, [x], "largest")


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([2, -1]))
@settings(max_examples=5)
def test_the_largest_is_found_without_topk_the_first_of_several(seed: int, steps: int, axis: int) -> None:
    x = np.random.default_rng(seed).integers(0, 3, (2, steps, 7)).astype(np.float32)
    model = largest(axis)
    rewrite(model)
    assert "TopK" not in kinds(model)
    assert run(model, x)[..., 0].tolist() == x.argmax(axis=2).tolist()


@pytest.mark.parametrize("other", [{"k": 2}, {"mode": "min"}, {"keep_values": True}, {"classes": -1}, {"axis": 1}])
def test_another_topk_stays(other: dict[str, Any]) -> None:
    model = largest(**{"axis": 2, **other})
    rewrite(model)
    assert "TopK" in kinds(model)


def first_layer(bytes_in: bool = True, order: str = "transpose", constant: bool = True) -> Any:
    """Pixels [n, h, w, 3] into a convolution, as in a network whose pixels are not normalised."""
    random = np.random.default_rng(0)
    x = op.parameter([-1, -1, -1, 3], np.uint8 if bytes_in else np.float32)
    y = op.convert(x, "f32") if bytes_in else op.relu(x)
    y = op.transpose(y, op.constant(np.array([0, 3, 1, 2])))
    if order == "scaled":
        y = op.multiply(y, op.constant(np.float32(0.3)))
    weights = op.constant(random.normal(size=(4, 3, 3, 3)).astype(np.float32))
    y = op.convolution(y, weights if constant else op.relu(weights), [2, 2], [1, 1], [1, 1], [1, 1])
    y.output(0).set_names({"out"})
    return openvino.Model([op.result(y)], [x], "first")


def test_bytes_that_go_into_a_convolution_are_scaled_on_the_way_and_no_digit_changes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 3), np.uint8)
    model = first_layer()
    rewrite(model)
    assert "Multiply" in kinds(model)
    np.testing.assert_array_equal(run(model, x), run(first_layer(), x))


@pytest.mark.parametrize("other", [{"bytes_in": False}, {"order": "scaled"}, {"constant": False}])
def test_other_first_layers_stay(other: dict[str, Any]) -> None:
    model, as_it_was = first_layer(**other), first_layer(**other)
    rewrite(model)
    assert [o.get_type_name() for o in model.get_ordered_ops()] == [
        o.get_type_name() for o in as_it_was.get_ordered_ops()
    ]


def enlarged_twice(last: int = 1, middle: str = "relu") -> Any:
    """Two transposed convolutions without overlap, as at the end of a map of probabilities."""
    random = np.random.default_rng(last)
    x = op.parameter([-1, 3, -1, -1], np.float32)
    y: Any = x
    for inputs, channels, k, end in ((3, 5, 2, middle), (5, last, 2, "sigmoid")):
        weights = op.constant(random.normal(size=(inputs, channels, k, k)).astype(np.float32))
        y = op.convolution_backprop_data(y, weights, [k, k])
        y = op.add(y, op.constant(random.normal(size=(1, channels, 1, 1)).astype(np.float32)))
        y = {"relu": op.relu, "sigmoid": op.sigmoid, "exp": op.exp}[end](y)
    y.output(0).set_names({"out"})
    return openvino.Model([op.result(y)], [x], "twice")


@pytest.mark.parametrize(("last", "middle", "moves"), [(1, "relu", 1), (1, "exp", 2), (3, "relu", 2)])
def test_two_enlargements_of_few_channels_are_one_move(last: int, middle: str, moves: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    wanted, model = run(enlarged_twice(last, middle), x), enlarged_twice(last, middle)
    rewrite(model)
    assert [o.get_type_name() for o in model.get_ops()].count("DepthToSpace") == moves
    np.testing.assert_allclose(run(model, x), wanted, rtol=1e-4, atol=1e-4)


def of_several(
    times: tuple[int, ...], outputs: int = 3, kernel: int = 3, stride: int = 1, mode: str = "nearest"
) -> Any:
    """A convolution of maps in one another's channels, each enlarged so many times from one input; its sides 8 n."""
    random = np.random.default_rng(len(times))
    x = op.parameter([-1, 2, -1, -1], np.float32)
    maps = []
    for each in times:
        small = op.avg_pool(x, [each, each], [0, 0], [0, 0], [each, each], False)
        scales = op.constant(np.array([1, 1, each, each], np.float32))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        maps.append(op.interpolate(small, scales, mode, "scales", [0] * 4, [0] * 4, **how) if each > 1 else small)
    weights = op.constant(random.normal(size=(outputs, 2 * len(times), kernel, kernel)).astype(np.float32))
    around = [kernel // 2] * 2
    y = op.convolution(op.concat(maps, 1), weights, [stride, stride], around, around, [1, 1])
    y = op.relu(op.add(y, op.constant(random.normal(size=(1, outputs, 1, 1)).astype(np.float32))))
    y.output(0).set_names({"out"})
    return openvino.Model([op.result(y)], [x], "several")


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from([1, 2, 4, 8]), min_size=2, max_size=4), st.integers(1, 2), st.integers(1, 3),
    st.integers(1, 3), st.sampled_from(["nearest", "linear_onnx"]),
)  # fmt: skip
def test_maps_are_convolved_apart_and_before_they_are_enlarged(
    times: list[int], stride: int, height: int, width: int, mode: str
) -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, 8 * height, 8 * width)).astype(np.float32)
    wanted = run(of_several(tuple(times), stride=stride, mode=mode), x)
    model = of_several(tuple(times), stride=stride, mode=mode)
    rewrite(model)
    before_enlarging = stride == 1 and mode == "nearest" and max(times) > 1
    assert ("DepthToSpace" in kinds(model)) == before_enlarging
    np.testing.assert_allclose(run(model, x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("other", [{"kernel": 1}, {"outputs": 33}])
def test_other_convolutions_of_several_maps_stay(other: dict[str, int]) -> None:
    model = of_several((1, 2), **other)
    rewrite(model)
    assert "Concat" in kinds(model)


def gated(by: str) -> Any:
    """A map, and added to it the map times a weight of each channel, or of each pixel."""
    x = op.parameter([-1, 4, -1, -1], np.float32)
    means = op.reduce_mean(x, op.constant(np.array([2, 3] if by == "channel" else [1])), True)
    y = op.add(op.multiply(op.sigmoid(means), x), op.relu(x) if by == "other map" else x)
    y.output(0).set_names({"out"})
    return openvino.Model([op.result(y)], [x], "gated")


@pytest.mark.parametrize("by", ["channel", "pixel", "other map"])
def test_a_map_and_its_weighed_self_are_weighed_once(by: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    model = gated(by)
    rewrite(model)
    adds = [o for o in model.get_ordered_ops() if o.get_type_name() == "Add"]
    assert (adds[0].get_output_partial_shape(0)[2] == 1) == (by == "channel")
    np.testing.assert_allclose(run(model, x), run(gated(by), x), rtol=1e-5, atol=1e-5)
