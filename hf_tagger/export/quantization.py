"""Weights as 8-bit integers, activations quantised while the graph runs (dynamic quantisation of onnxruntime)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

_OPERATORS = ("MatMul", "Gemm", "Conv")


def quantize(source: Path, target: Path, in_float: Sequence[str]) -> None:
    """Writes a graph with the weights of its linear layers and convolutions as unsigned 8-bit integers.

    Unsigned, because onnxruntime's convolutions of signed weights take twice the time on a CPU, and because signed
    weights overflow where a CPU has no VNNI instructions
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). One scale a channel for linear
    layers, one a layer for convolutions, which onnxruntime has no other form for.

    Args:
        source: A graph.
        target: The new file.
        in_float: Names of nodes that stay as they are: a power spectrum has more range than 8 bits.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # an extra; see runtime.check_installed

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises steps that change nothing here
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(_OPERATORS),
            weight_type=QuantType.QUInt8,
            per_channel=True,
            nodes_to_exclude=list(in_float),
            use_external_data_format=source.with_name(source.name + ".data").exists(),
        )
    finally:
        root.setLevel(level)
