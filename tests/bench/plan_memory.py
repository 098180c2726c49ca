#!/usr/bin/env python3
"""Holds what a plan says of a job's memory against the job: models of real shapes with random weights.

  plan_memory.py [--shapes qwen2-0.5b llama-1b] [--length 256] [--batch 2] [--save]

Each job is planned by a running service (POST /v1/fine_tuning/jobs/plan), then trained for two steps by the trainer. Peak memory
is the kernel's figure (wait4), which counts what a process was before it became the trainer, too: so this one stays small, and
makes the models in others. --save writes results/plan_memory.json. SmolLM2's figures, which the forecast was made from, are in
memory_forecast_test.cpp; these it has not seen. Needs up to 12 GiB of memory, and 4 GB of disk for each model.
"""
import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("oracle", "e2e")]
import lora_vs_peft
import programs
import service
import tiny_models

# The sizes of Qwen2.5-0.5B and of Llama-3.2-1B.
SHAPES = {
    "smollm2-135m": ("LlamaConfig", dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                                         num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True)),
    "qwen2-0.5b": ("Qwen2Config", dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                                       num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True)),
    "llama-1b": ("LlamaConfig", dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
                                     num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True)),
}
BFLOAT16, KEPT = {"torch_dtype": "bfloat16"}, {"gradient_checkpointing": False}
CASES = {
    "lora": BFLOAT16,
    "lora, nothing made again": {**BFLOAT16, **KEPT},
    "lora, float32": {"torch_dtype": "float32"},
    "lora, float32, nothing made again": {"torch_dtype": "float32", **KEPT},
    "lora, plain kernels": {**BFLOAT16, "use_liger_kernel": False},
    "full": {**BFLOAT16, "tuner_type": "full"},
    "full, adafactor": {**BFLOAT16, "tuner_type": "full", "optim": "adafactor"},
}


def make(name, models):
    """Writes a model directory of that shape; its weights are stored as bfloat16."""
    import torch
    import transformers

    kind, fields = SHAPES[name]
    config = getattr(transformers, kind)(bos_token_id=1, eos_token_id=2, pad_token_id=2, max_position_embeddings=4096, **fields)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.to_empty(device="cpu").tie_weights()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(models / name)
    tiny_models.save_tokenizer(models / name)


def planned_mib(client, name, file, settings):
    request = {"model": name, "training_file": file, **settings}
    plan = client.post("/fine_tuning/jobs/plan", body=request, cast_to=object)
    return {part: size / 2**20 for part, size in {"all": plan["memory"]["per_rank"], **plan["memory"]["parts"]}.items()}


def measured_mib(job, output):
    command = list(map(str, programs.trainer_command(job, output)))
    with output.with_suffix(".log").open("w") as log:
        code, peak = lora_vs_peft.ended(subprocess.Popen(command, stdout=log, stderr=log))
    if code != 0:
        sys.exit(f"the trainer failed:\n{output.with_suffix('.log').read_text()[-2000:]}")
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["qwen2-0.5b", "llama-1b"])
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write the result file")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.make[0], Path(options.make[1]))
    scratch = programs.scratch("plan-memory")
    for name in options.shapes:
        programs.must_run([sys.executable, __file__, "--make", name, scratch / "models"], 300)
    draw = random.Random(7)
    rows = programs.write_rows(scratch / "rows.jsonl", [[draw.randrange(3, 40_000) for _ in range(options.length)]
                                                        for _ in range(2 * options.batch)])
    common = dict(programs.PLAIN_STEP, max_steps=2, per_device_train_batch_size=options.batch, max_length=options.length)
    for key in ("gradient_checkpointing", "lora_alpha", "lora_dropout", "lora_rank"):  # As by default.
        del common[key]
    running = service.Service(scratch / "service", scratch / "models", slots=1).start()
    try:
        client = running.client()
        with open(rows, "rb") as handle:
            file = client.files.create(file=handle, purpose="fine-tune").id
        plans = {(name, case): planned_mib(client, name, file, {**common, **CASES[case]})
                 for name in options.shapes for case in options.only}
    finally:
        running.stop()
    results = []
    print(f"{'model':14} {'case':36} {'planned':>9} {'measured':>9}  MiB  planned/measured")
    for (name, case), plan in plans.items():
        job = {**common, **CASES[case], "model": str(scratch / "models" / name), "dataset": [rows]}
        peak = measured_mib(job, scratch / f"run-{len(results)}")
        results.append({"model": name, "case": case, "planned_mib": plan, "measured_mib": peak})
        print(f"{name:14} {case:36} {plan['all']:9.0f} {peak:9.0f}       {plan['all'] / peak:.2f}   "
              + " ".join(f"{part} {size:.0f}" for part, size in plan.items() if part != "all"), flush=True)
    if options.save:
        path = lora_vs_peft.RESULTS / "plan_memory.json"
        about = {"command": "tests/bench/plan_memory.py", "length": options.length, "batch": options.batch}
        path.write_text(json.dumps({**about, **lora_vs_peft.machine(), "results": results}, indent=1) + "\n")
        print(f"written: {path.relative_to(programs.ROOT)}")


if __name__ == "__main__":
    main()
