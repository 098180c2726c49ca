#!/usr/bin/env python3
"""Golden values of ReFT's interventions, from the formulas of the paper (Wu et al. 2024, arXiv:2404.03592, section 3.2 and
appendix C) written out in torch.

  .venv/bin/python tests/oracle/reft_values.py

writes tests/oracle/reft/<name>.safetensors, one for each case below: a layer's output `h` [7, 12] and a `target`; the start
values of the trained tensors under the names that our files have; `output` and `loss` = mean (output - target)^2; grad.<name>;
`losses` of three steps of AdamW (lr 1e-2, betas 0.9 and 0.999, eps 1e-6, no decay) and of the result, and step3.<name>.

The paper asks for a matrix R with orthonormal rows. Here, as in our program, R' [12, r] is the orthonormal factor of the trained
matrix's QR decomposition, the triangular one having a positive diagonal; step3.rotate_layer.weight is that factor.
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

OUTPUT = Path(__file__).resolve().parent / "reft"
WIDTH, RANK, ROWS = 12, 3, 7
GELU_TANH = lambda x: torch.nn.functional.gelu(x, approximate="tanh")
IDENTITY = lambda x: x


def orthonormal(matrix):
    q, triangle = torch.linalg.qr(matrix)
    return q * triangle.detach().diagonal().sign()


def source(p, h, act):
    return act(h @ p["learned_source.weight"].T + p["learned_source.bias"])


def loreft(p, h, act):
    rows = orthonormal(p["rotate_layer.weight"]).T
    return h + (source(p, h, act) - h @ rows.T) @ rows


def direft(p, h, act):
    return h + source(p, h, act) @ orthonormal(p["rotate_layer.weight"]).T


def consreft(p, h, act):
    rows = orthonormal(p["rotate_layer.weight"]).T
    return h + (p["learned_source"] - h @ rows.T) @ rows


def lobireft(p, h, act):
    return h + p["learned_source"] @ orthonormal(p["rotate_layer.weight"]).T


def noreft(p, h, act):
    rows = p["proj_layer.weight"]
    return h + (source(p, h, act) - h @ rows.T - p.get("proj_layer.bias", torch.zeros(RANK))) @ rows


def nodireft(p, h, act):
    return h + source(p, h, act) @ p["proj_layer.weight"]


ROTATION = {"rotate_layer.weight": [WIDTH, RANK]}
LINEAR = {"learned_source.weight": [RANK, WIDTH], "learned_source.bias": [RANK]}
CONSTANT = {"learned_source": [RANK]}
FREE = {"proj_layer.weight": [RANK, WIDTH]}
# name: (formula, activation, shapes)
CASES = {
    "loreft": (loreft, IDENTITY, ROTATION | LINEAR),
    "loreft_gelu": (loreft, GELU_TANH, ROTATION | LINEAR),
    "direft": (direft, IDENTITY, ROTATION | LINEAR),
    "consreft": (consreft, IDENTITY, ROTATION | CONSTANT),
    "lobireft": (lobireft, IDENTITY, ROTATION | CONSTANT),
    "noreft": (noreft, IDENTITY, FREE | LINEAR),
    "noreft_bias": (noreft, torch.relu, FREE | LINEAR | {"proj_layer.bias": [RANK]}),
    "nodireft": (nodireft, torch.tanh, FREE | LINEAR),
}


def record(name):
    formula, act, shapes = CASES[name]
    generator = torch.Generator().manual_seed(9)
    draw = lambda shape: torch.randn(shape, generator=generator)
    h, target = draw([ROWS, WIDTH]), draw([ROWS, WIDTH])
    parameters = {key: draw(shape) * 0.5 for key, shape in shapes.items()}
    if "rotate_layer.weight" in parameters:
        parameters["rotate_layer.weight"] = orthonormal(parameters["rotate_layer.weight"])
    values = {"h": h, "target": target} | {key: value.clone() for key, value in parameters.items()}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
    losses = []
    for step in range(4):
        optimizer.zero_grad()
        output = formula(parameters, h, act)
        loss = (output - target).square().mean()
        losses.append(loss.item())
        if step == 3:
            break
        loss.backward()
        if step == 0:
            values |= {"output": output.detach().clone(), "loss": loss.detach().clone()}
            values |= {"grad." + key: value.grad.clone() for key, value in parameters.items()}
        optimizer.step()
    values["losses"] = torch.tensor(losses)
    for key, value in parameters.items():
        value = value.detach()
        values["step3." + key] = (orthonormal(value) if key == "rotate_layer.weight" else value).clone()
    OUTPUT.mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in values.items()}, OUTPUT / f"{name}.safetensors")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    for each in CASES:
        record(each)
