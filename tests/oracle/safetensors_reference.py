#!/usr/bin/env python3
"""Writes tests/storage/data/reference.safetensors with the reference library: every element type, a
scalar, an empty tensor and a name that needs escaping. tests/storage/safetensors_test.cpp writes the
same tensors and compares the files byte for byte. Run from the root; needs torch and safetensors."""

import torch
from safetensors.torch import save_file

TENSORS = [
    ("z.f32", torch.float32, (2, 3)), ("a.f32", torch.float32, ()), ("h.f16", torch.float16, (3,)),
    ("b.bf16", torch.bfloat16, (1, 5)), ("i.i64", torch.int64, (2,)), ("j.i32", torch.int32, (1,)),
    ("k.i16", torch.int16, (2,)), ("l.i8", torch.int8, (3,)), ("m.u8", torch.uint8, (1,)),
    ("n.bool", torch.bool, (2,)), ("o.f64", torch.float64, (1,)), ("p.empty", torch.float32, (4, 0)),
    ('"q"/é', torch.uint8, (5,)),
]


def main():
    tensors, next_byte = {}, 0
    for name, dtype, shape in TENSORS:
        count = torch.empty(shape, dtype=dtype).numel() * dtype.itemsize
        if dtype == torch.bool:
            tensors[name] = torch.ones(shape, dtype=dtype)
            continue
        values = bytearray((next_byte + i) % 100 for i in range(count))
        next_byte = next_byte + count
        raw = torch.frombuffer(values, dtype=dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
        tensors[name] = raw.clone()
    save_file(tensors, "tests/storage/data/reference.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
