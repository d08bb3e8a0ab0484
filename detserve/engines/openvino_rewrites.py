"""Rewrites: nodes of OpenVINO's graph → others that compute the same faster on its CPU plugin.

The same but for the last digit: where sums are taken in another order, or weights are added before they are rounded.

They are applied when an engine is built; the gate of repack.py then compares the engine with the file itself.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

NARROW = 32
"""So many outputs at most has a convolution that is rewritten to save the moving of maps, not multiplications."""
NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""Each pixel of a map becomes as many as it is enlarged."""


def rewrite(model: Any) -> None:
    """Rewrite what is known to be slow; a graph that has none of it stays as it is."""
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "ConvolutionBackpropData":
            _enlarge_after_activation(operation)
        elif operation.get_type_name() == "TopK":
            _find_by_comparing(operation)
        elif operation.get_type_name() == "Transpose":
            _scale_transposed(operation)
        elif operation.get_type_name() == "Convolution":
            _convolve_before_enlarging(operation)
        elif operation.get_type_name() == "Add":
            _weigh_once(operation)
    model.validate_nodes_and_infer_types()


def _enlarge_after_activation(deconvolution: Any) -> None:
    """A transposed convolution whose kernels do not overlap → a pointwise one, what follows it, DepthToSpace.

    k x k kernels at stride k give each output pixel one input pixel and one tap: k² pointwise kernels give the same.
    They lie in blocks of all channels, which DepthToSpace copies a block at a time. Bias and activation come before it,
    where the convolution takes them in: behind it, on one channel of a network with open sides, a sigmoid takes as long
    as ten convolutions.

    One behind another is computed before the first one's DepthToSpace, if it has few channels: a map of many, which is
    moved for nothing else, is slower to move than the zeros between its blocks are to multiply.
    """
    from openvino import opset13 as op

    attributes, weights = deconvolution.get_attributes(), deconvolution.input_value(deconvolution.get_input_size() - 1)
    if deconvolution.get_input_size() != 2 or weights.get_node().get_type_name() != "Constant":
        return
    kernel = np.array(weights.get_node().get_data())
    if kernel.ndim != 4:
        return
    _, channels, high, wide = kernel.shape
    paddings = (attributes[name] for name in ("pads_begin", "pads_end", "output_padding"))
    apart = list(attributes["strides"]) == [high, wide] and high == wide and list(attributes["dilations"]) == [1, 1]
    if not apart or any(any(padding) for padding in paddings) or not attributes["auto_pad"].startswith("explicit"):
        return
    source, blocks = deconvolution.input_value(0), 1
    before = source.get_node()
    if before.get_type_name() == "DepthToSpace" and _only_follower(before) is not None:
        larger = before.get_attributes()["block_size"]
        if (larger * high) ** 2 * channels <= NARROW and before.get_attributes()["mode"] == "blocks_first":
            source, blocks = before.input_value(0), larger
    pointwise = op.constant(_of_blocks(kernel, blocks))
    x = op.convolution(source, pointwise, [1, 1], [0, 0], [0, 0], [1, 1])
    last = deconvolution
    while (following := _only_follower(last)) is not None:
        kind = following.get_type_name()
        if kind == "Add" and (bias := _bias(following, channels)) is not None:
            x = op.add(x, op.constant(np.tile(bias, (1, (blocks * high) ** 2, 1, 1))))
        elif kind in ("Relu", "Sigmoid"):
            x = op.relu(x) if kind == "Relu" else op.sigmoid(x)
        elif kind != "Identity":
            break
        last = following
    _replace(last.output(0), op.depth_to_space(x, "blocks_first", blocks * high).output(0))


def _of_blocks(kernel: Any, blocks: int) -> Any:
    """k x k kernels at stride k, [inputs, channels, k, k], as pointwise ones on a map whose channels are blocks².

    Each of the blocks becomes k x k pixels: [(blocks * k)² * channels, blocks² * inputs, 1, 1], zero between blocks.
    """
    inputs, channels, high, wide = kernel.shape
    apart = np.zeros((blocks, high, blocks, wide, channels, blocks, blocks, inputs), kernel.dtype)
    for y, x in np.ndindex(blocks, blocks):
        apart[y, :, x, :, :, y, x] = kernel.transpose(2, 3, 1, 0)
    return apart.reshape(-1, blocks**2 * inputs, 1, 1)


def _scale_transposed(transpose: Any) -> None:
    """Bytes as floats, transposed, into a convolution → the same with a scale of 1/256 between, and weights of 256.

    OpenVINO transposes the bytes where nothing else is done to them, and their floats once more for the convolution. A
    scale keeps the order, and then both are one. Powers of two change no digit.
    """
    from openvino import opset13 as op

    convolution = _only_follower(transpose)
    if convolution is None or convolution.get_type_name() != "Convolution":
        return
    weights, floats = convolution.input_value(1).get_node(), transpose.input_value(0).get_node()
    if weights.get_type_name() != "Constant" or floats.get_type_name() != "Convert":
        return
    scaled = op.multiply(transpose, op.constant(np.float32(1 / 256)))
    convolution.input(0).replace_source_output(scaled.output(0))
    convolution.input(1).replace_source_output(op.constant(np.array(weights.get_data()) * np.float32(256)).output(0))


def _find_by_comparing(top: Any) -> None:
    """The place of the largest value by TopK → by comparing all with it; the first of several, as ONNX wants.

    TopK sorts: it takes a third of the time of a recogniser of 18,710 characters.
    """
    from openvino import opset13 as op

    attributes, k = top.get_attributes(), top.input_value(1).get_node()
    values, axis = top.input_value(0), attributes["axis"]
    shape = values.get_partial_shape()
    if (
        k.get_type_name() != "Constant"
        or k.get_data().item() != 1
        or attributes["mode"] != "max"
        or attributes["index_element_type"] != "i64"
        or top.output(0).get_target_inputs()
        or shape.rank.is_dynamic
        or shape[axis].is_dynamic
    ):
        return
    axis %= len(shape)
    count = shape[axis].get_length()
    if count > 2**24:  # a float32 counts no further
        return
    places = np.arange(count, dtype=np.float32).reshape([count if i == axis else 1 for i in range(len(shape))])
    axes = op.constant(np.array([axis]))
    largest = op.reduce_max(values, axes, True)
    here = op.select(op.equal(values, largest), op.constant(places), op.constant(np.float32(count)))
    _replace(top.output(1), op.convert(op.reduce_min(here, axes, True), "i64").output(0))


def _convolve_before_enlarging(convolution: Any) -> None:
    """A 3 x 3 convolution of several maps, some of them enlarged → the sum of one of these and of one of each other.

    Of maps that are enlarged to the nearest pixel the last step by two is left to the convolution: see `_enlarging`.
    Where none is, it stays as it is: sums of parts round otherwise, and save but a copy.
    """
    from openvino import opset13 as op

    attributes, weights = convolution.get_attributes(), convolution.input_value(1).get_node()
    concat = _without_identities(convolution.input_value(0)).get_node()
    if weights.get_type_name() != "Constant" or concat.get_type_name() != "Concat" or len(weights.shape) != 4:
        return
    padded = attributes["pads_begin"] == attributes["pads_end"] == [1, 1] and attributes["auto_pad"] == "explicit"
    plain = padded and attributes["strides"] == attributes["dilations"] == [1, 1]
    plain = plain and list(weights.shape[2:]) == [3, 3] and weights.shape[0] <= NARROW
    channels = [value.get_partial_shape()[1] for value in concat.input_values()]
    if not plain or concat.get_attributes()["axis"] != 1 or any(each.is_dynamic for each in channels):
        return
    ends = np.cumsum([each.get_length() for each in channels])[:-1]
    sums, small, small_kernels = [], [], []
    for value, kernel in zip(concat.input_values(), np.split(np.array(weights.get_data()), ends, axis=1), strict=True):
        enlarged = _without_identities(value).get_node()
        times = _times(enlarged)
        if times % 2:
            taps = op.constant(np.ascontiguousarray(kernel))
            sums.append(op.convolution(value, taps, [1, 1], [1, 1], [1, 1], [1, 1]))
        else:
            small.append(_nearest(enlarged.input_value(0), times // 2))
            small_kernels.append(kernel)
    if small:
        sums.append(_enlarging(op.concat(small, 1), np.concatenate(small_kernels, axis=1)))
        _replace(convolution.output(0), reduce(op.add, sums).output(0))


def _enlarging(small: Any, kernel: Any) -> Any:
    """A 3 x 3 convolution of a map twice as large, each pixel four times → the same from the small one.

    Three pixels of the large map in a row are two of the small one: the outer two taps that fall on one pixel are
    added. So 2 x 2 kernels, four of them for the four pixels that come of one, do 16 multiplications instead of 36. On
    the border between small pixels lie the second of one and the first of the next; so there is one row of them more,
    and what lies outside is cut off.
    """
    from openvino import opset13 as op

    second = np.array([[1, 0, 0], [0, 1, 1]], np.float32)  # of these two: its left neighbour, itself twice
    first = np.array([[1, 1, 0], [0, 0, 1]], np.float32)
    taps = np.stack([first, second])
    # Axes: u, v which of the four; o, i channels; p, q the 2 x 2 taps; y, x the 3 x 3.
    four = np.einsum("upy,vqx,oiyx->uvoipq", taps, taps, kernel).reshape(-1, kernel.shape[1], 2, 2)
    x = op.convolution(small, op.constant(np.ascontiguousarray(four)), [1, 1], [1, 1], [1, 1], [1, 1])
    x = op.depth_to_space(x, "blocks_first", 2)
    one, end = op.constant(np.array([1, 1])), op.constant(np.array([-1, -1]))
    return op.slice(x, one, end, one, op.constant(np.array([2, 3])))


def _weigh_once(add: Any) -> None:
    """A map, and added to it the map times a weight for each channel → the map times the weight and one."""
    from openvino import opset13 as op

    for i in range(2):
        product, x = (_without_identities(add.input_value(each)) for each in (i, 1 - i))
        if product.get_node().get_type_name() != "Multiply":
            continue
        for j in range(2):
            weight, other = (product.get_node().input_value(each) for each in (j, 1 - j))
            shape = weight.get_partial_shape()
            if _without_identities(other) == x and shape.rank == 4 and shape[2] == shape[3] == 1:
                _replace(add.output(0), op.multiply(x, op.add(weight, op.constant(np.float32(1)))).output(0))
                return


def _times(operation: Any) -> int:
    """How many times a map is enlarged to the nearest pixel, both ways; 1 for everything else."""
    if operation.get_type_name() != "Interpolate" or operation.get_input_size() != 2:
        return 1
    attributes, scales = operation.get_attributes(), operation.input_value(1).get_node()
    how = {"mode": "nearest", "shape_calculation_mode": "scales", **NEAREST}
    if scales.get_type_name() != "Constant" or any(attributes[name] != value for name, value in how.items()):
        return 1
    batch, channels, high, wide = scales.get_data().tolist()
    return int(high) if batch == channels == 1 and high == wide == int(high) else 1


def _nearest(value: Any, times: int) -> Any:
    from openvino import opset13 as op

    if times == 1:
        return value
    scales = op.constant(np.array([1, 1, times, times], np.float32))
    return op.interpolate(value, scales, "nearest", "scales", [0] * 4, [0] * 4, **NEAREST)


def _without_identities(value: Any) -> Any:
    while value.get_node().get_type_name() == "Identity":
        value = value.get_node().input_value(0)
    return value


def _only_follower(operation: Any) -> Any:
    """The operation that takes this one's output, if there is just one and it is not the model's end."""
    followers = [each.get_node() for each in operation.output(0).get_target_inputs()]
    return followers[0] if len(followers) == 1 and followers[0].get_type_name() != "Result" else None


def _bias(add: Any, channels: int) -> Any:
    """The constant that is added to each channel, [1, channels, 1, 1]; None where it is something else."""
    constant = add.input_value(1).get_node()
    if constant.get_type_name() != "Constant" or list(constant.get_output_shape(0)) != [1, channels, 1, 1]:
        return None
    return np.array(constant.get_data())


def _replace(old: Any, new: Any) -> None:
    """Give the inputs that take `old`, and its names, to `new`."""
    for target in old.get_target_inputs():
        target.replace_source_output(new)
    new.set_names(old.get_names())
