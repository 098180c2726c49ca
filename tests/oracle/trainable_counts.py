#!/usr/bin/env python3
"""Records how many numbers the trainer trains, for tuners on SmolLM2-135M-Instruct: what tests/tuners/trainable_count_test.cpp
compares the count that needs no tensors with.

    tests/oracle/trainable_counts.py            writes tests/tuners/trainable_counts.json
    tests/oracle/trainable_counts.py --check    runs everything again and compares

Each case is a real run of one step. About three minutes on two cores.
"""
import json
import sys
from pathlib import Path

import programs

RECORD = Path(__file__).resolve().parents[1] / "tuners/trainable_counts.json"
ATTENTION = ["q_proj", "v_proj"]


def tuner(type_, **options):
    return {"tuners": {"t": {"type": type_, **options}}}


CASES = [
    {"tuner_type": "lora"},
    {"tuner_type": "lora", "lora_rank": 3, "target_modules": ATTENTION, "use_dora": True},
    tuner("lora", r=4, target_modules=["all-linear", "embed_tokens"]),
    tuner("lora", r=8, target_modules=ATTENTION, rank_pattern={"v_proj": 2}, lora_bias=True),
    tuner("lora", r=4, target_modules=["q_proj"], modules_to_save=["norm"], layers_to_transform=[0, 2]),
    tuner("lora", r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    tuner("lora", r=4, target_modules=["q_proj"], trainable_token_indices=[1, 2, 3]),
    {"tuner_type": "longlora"},
    {"tuner_type": "adalora", "target_modules": ATTENTION},
    tuner("ia3"),
    tuner("ln_tuning"),
    tuner("vera", r=64, target_modules=ATTENTION),
    tuner("loha", r=4),
    tuner("lokr", r=4),
    tuner("lokr", r=4, decompose_both=True, decompose_factor=8),
    tuner("hira", r=4),
    tuner("hra", r=8),
    tuner("oft", oft_block_size=32, r=0),
    tuner("boft", boft_block_size=4, boft_n_butterfly_factor=1),
    tuner("fourierft", n_frequency=500),
    tuner("waveft", n_frequency=500, target_modules=ATTENTION),
    tuner("c3a", block_size=64),
    tuner("miss", r=16),
    tuner("bone", r=16),
    tuner("shira", r=2, target_modules=ATTENTION),
    tuner("randlora", r=32, target_modules=ATTENTION),
    tuner("road", variant="road_1"),
    tuner("road", variant="road_4"),
    tuner("vblora", r=4, num_vectors=32, vector_length=64, target_modules=["q_proj"]),
    tuner("prompt_tuning", num_virtual_tokens=8),
    tuner("prefix_tuning", num_virtual_tokens=8),
    {"tuner_type": "adapter"},
    {"tuner_type": "reft"},
    {"tuner_type": "llamapro", "llamapro_num_new_blocks": 2},
    {"tuner_type": "full"},
    {"tuner_type": "full", "freeze_parameters": ["model.embed_tokens"]},
    {"tuner_type": "full", "freeze_parameters_ratio": 0.5},
    {"tuners": {"a": {"type": "lora", "r": 4, "target_modules": ["q_proj"]}, "b": {"type": "ia3"}},
     "neftune_noise_alpha": 5.0},
]


def measured(case, work):
    data = programs.write_rows(work / "rows.jsonl", [[1, 2, 3, 4]])
    job = dict(case, model=str(programs.model_directory()), dataset=[data], max_steps=1, gradient_accumulation_steps=1,
               save_strategy="no", device="cpu")
    finished = programs.run(programs.trainer_command(job, work / "out"), 120)
    if finished.code != 0:
        return None, f"{finished.err[-300:]}{finished.out[-300:]}"
    return programs.result(work / "out")["trainable_parameters"], ""


def main():
    counts = []
    for i, case in enumerate(CASES):
        work = programs.scratch("counts") / str(i)
        work.mkdir()
        count, problem = measured(case, work)
        if count is None:
            sys.exit(f"the trainer refused {json.dumps(case)}: {problem}")
        print(f"{count:>12}  {json.dumps(case)}", flush=True)
        counts.append({"job": case, "trainable": count})
    text = json.dumps(counts, indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit("" if text == RECORD.read_text() else f"the trainer counts otherwise now: {RECORD}")
    RECORD.write_text(text)


if __name__ == "__main__":
    main()
