#!/usr/bin/env python3
"""Writes tests/storage/data/blocks.gguf, one tensor of each type that storage dequantises, filled with
random blocks, and blocks.safetensors, what gguf.quants.dequantize makes of them. Also metadata of every
value type. tests/storage/gguf_test.cpp compares bit for bit. Run from the root; needs gguf, numpy,
safetensors."""

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGUFValueType
from gguf.quants import dequantize
from safetensors.numpy import save_file

ROWS, COLUMNS = 2, 512
# Where in a block the half-precision scales stand; the rest may hold any bits.
SCALES = {
    Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}


def finite_halves(random, count):
    """Half-precision numbers of every exponent, subnormals among them, without infinities and NaN."""
    bits = random.integers(0, 0x7C00, count, dtype=np.uint16)
    return (bits | (random.integers(0, 2, count, dtype=np.uint16) << 15)).astype(np.uint16)


def random_tensor(random, kind):
    count = ROWS * COLUMNS
    if kind == Type.F32:
        return random.standard_normal((ROWS, COLUMNS), dtype=np.float32)
    if kind == Type.F16:
        return finite_halves(random, count).view(np.float16).reshape(ROWS, COLUMNS)
    if kind == Type.BF16:
        values = random.standard_normal(count, dtype=np.float32).view(np.uint32)
        return (values >> 16).astype(np.uint16).view(np.uint8).reshape(ROWS, COLUMNS * 2)
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (count // elements, size), dtype=np.uint8)
    for offset in SCALES[kind]:
        blocks[:, offset:offset + 2] = finite_halves(random, len(blocks)).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def add_metadata(writer):
    values = [("u8", 200, "UINT8"), ("i8", -100, "INT8"), ("u16", 60000, "UINT16"), ("i16", -30000, "INT16"),
              ("u32", 4000000000, "UINT32"), ("i32", -2000000000, "INT32"), ("f32", 0.5, "FLOAT32"),
              ("bool", True, "BOOL"), ("text", "zażółć", "STRING"), ("u64", 2**63 + 1, "UINT64"),
              ("i64", -2**62, "INT64"), ("f64", 1e300, "FLOAT64")]
    for key, value, kind in values:
        writer.add_key_value(f"test.{key}", value, GGUFValueType[kind])
    writer.add_array("test.numbers", [1, 2, 3])
    writer.add_array("test.texts", ["a", "", "ł"])


def main():
    random = np.random.default_rng(20_24)
    writer = GGUFWriter("tests/storage/data/blocks.gguf", "llama")
    add_metadata(writer)
    expected = {}
    for kind in [Type.F32, Type.F16, Type.BF16, *SCALES]:
        data = random_tensor(random, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = np.ascontiguousarray(dequantize(data, kind).reshape(ROWS, COLUMNS))
        assert np.isfinite(expected[kind.name]).all(), kind
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, "tests/storage/data/blocks.safetensors")


if __name__ == "__main__":
    main()
