"""Writes tests/tuners/target_match.json: what PEFT says about module names. Rerun with
.venv/bin/python tests/oracle/target_match.py after raising PEFT's version."""

import itertools
import json
import pathlib

import peft
from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.other import get_pattern_key

OUT = pathlib.Path(__file__).parents[1] / "tuners" / "target_match.json"

PATHS = [
    "lm_head", "model", "model.embed_tokens", "model.norm", "model.layers", "model.layers.0",
    "model.layers.0.self_attn", "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj",
    "model.layers.10.self_attn.v_proj", "model.layers.2.mlp.gate_proj", "model.layers.2.mlp.down_proj",
    "model.layers.1.mlp.experts.0.up_proj", "model.layers.0.input_layernorm", "encoder.block.3.q",
    "h.11.attn.c_attn", "q_proj", "xq_proj", "model.xlm_head", "lm_head.inner", "model.decoder.layers.4.fc1",
]

CONFIGS = [
    {"target_modules": ["q_proj"]},
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["proj"]},
    {"target_modules": ["self_attn.q_proj"]},
    {"target_modules": ["model.layers.0.self_attn.q_proj"]},
    {"target_modules": [".*q_proj"]},
    {"target_modules": ["lm_head", "embed_tokens"]},
    {"target_modules": r".*\.q_proj"},
    {"target_modules": r".*q_proj"},
    {"target_modules": r"q_proj"},
    {"target_modules": r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"},
    {"target_modules": r"model\.layers\.\d{,1}\..*proj"},
    {"target_modules": r"(?!lm_).*(head|fc1)$"},
    {"target_modules": r"(?i).*Q_PROJ"},
    {"target_modules": r"model|model\.layers"},
    {"target_modules": r".*\.(?P<n>\d+)\..*\.(?P=n)\..*"},
    {"target_modules": ["q_proj", "v_proj", "up_proj"], "layers_to_transform": [0, 10]},
    {"target_modules": ["q_proj", "v_proj", "up_proj"], "layers_to_transform": 1},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": ["layers"]},
    {"target_modules": ["up_proj"], "layers_to_transform": [0], "layers_pattern": "experts"},
    {"target_modules": ["q", "c_attn", "fc1"], "layers_to_transform": [3, 4, 11], "layers_pattern": ["block", "h"]},
    {"target_modules": ["model.layers.1.self_attn.q_proj", "v_proj"], "layers_to_transform": [0]},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["v_proj"]},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["model.layers.0.self_attn.q_proj"]},
    {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*layers\.1.*"},
    {"target_modules": r".*proj", "exclude_modules": r".*mlp.*"},
    {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["self_attn"]},
    {"target_modules": ["q_proj", "gate_proj"], "modules_to_save": ["norm", "mlp"]},
    {"target_modules": r".*", "modules_to_save": ["layers.0"]},
]

PATTERNS = [
    [], ["q_proj"], ["self_attn.q_proj", "q_proj"], ["q_proj", "model.layers.0.self_attn.q_proj"],
    [r"layers\.\d+\.self_attn\..*"], ["proj"], [r".*_proj"], ["model"], [r"layers.0.*|lm_head"],
    ["^lm_head"], [r"1\.self_attn\.q_proj", r"\d+\.self_attn\.q_proj"], ["q_proj$"], ["self_attn"],
]


def said(config, path):
    answer = check_target_module_exists(config, path)
    return "excluded" if isinstance(answer, _ExcludedModule) else "yes" if answer else "no"


def main():
    matches = []
    for options in CONFIGS:
        config = LoraConfig(**options)
        answers = [said(config, path) for path in PATHS]
        matches.append({"config": options, "answers": answers})
    patterns = [
        {"keys": keys, "path": path, "key": get_pattern_key(keys, path)}
        for keys, path in itertools.product(PATTERNS, PATHS)
    ]
    golden = {"peft": peft.__version__, "paths": PATHS, "matches": matches, "patterns": patterns}
    lines = ["{", f' "peft": {json.dumps(golden["peft"])},', f' "paths": {json.dumps(PATHS)},']
    for name in ("matches", "patterns"):
        rows = ",\n".join("  " + json.dumps(row) for row in golden[name])
        lines.append(f' "{name}": [\n{rows}\n ]' + ("," if name == "matches" else ""))
    OUT.write_text("\n".join(lines + ["}"]) + "\n")


if __name__ == "__main__":
    main()
