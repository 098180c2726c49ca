#!/usr/bin/env python3
"""Measures every tuner beside LoRA, ours and PEFT's, as jobs on SmolLM2-135M.

  tuners.py [--only NAME …] [--steps 8] [--batch 2] [--length 128] [--dtype float32] [--no-peft] [--save [NAME]]

Printed for each tuner: trainable parameters, how far the loss falls, and step time and peak memory relative to our LoRA's,
then the same of PEFT's tuner relative to PEFT's LoRA, and our step time over PEFT's. --save writes results/tuners.json (or
NAME.json, for another machine), with the settings and the machine; tuners measured earlier with the same ones stay in it.

Both sides train on the same rows (this project's own texts, so that a loss can fall) with the same settings on the same two
cores, one process at a time. A LoRA run stands before and after every few tuners, and their mean is what these are compared
with, so that a change in the machine's mood meets both. Ours is timed by the moments at which lines appear in logging.jsonl,
PEFT by its own clock; a step's time is the median without the first two. Peak memory is the kernel's figure (wait4).
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import lora_vs_peft
import programs

WARM_UP_STEPS = 2
LORA_EVERY = 4  # tuners between two LoRA runs
LEARNING_RATE = 1e-3
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name: (PEFT's configuration class or None, options; a job's `tuners:` entry and PEFT's fields alike). Sizes are chosen to come
# near to LoRA's 2.4 million trained numbers where the tuner can: hidden 576, k and v 192, feed-forward 1536, 30 layers.
TUNERS = {
    "lora": ("LoraConfig", dict(r=8, lora_alpha=16, target_modules=ALL)),
    "dora": ("LoraConfig", dict(r=8, lora_alpha=16, target_modules=ALL, use_dora=True)),
    "rslora": ("LoraConfig", dict(r=8, lora_alpha=16, target_modules=ALL, use_rslora=True)),
    "pissa": ("LoraConfig", dict(r=8, lora_alpha=8, target_modules=ALL, init_lora_weights="pissa_niter_4")),
    "adalora": ("AdaLoraConfig", dict(init_r=8, target_r=4, lora_alpha=16, total_step=1000, target_modules=ALL)),
    "vera": ("VeraConfig", dict(r=256, target_modules=ALL)),
    "loha": ("LoHaConfig", dict(r=4, alpha=8, target_modules=ALL)),
    "lokr": ("LoKrConfig", dict(r=8, alpha=16, target_modules=ALL)),
    "ia3": ("IA3Config", dict(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "oft": ("OFTConfig", dict(oft_block_size=32, target_modules=ALL)),
    "boft": ("BOFTConfig", dict(boft_block_size=4, target_modules=ALL)),
    "hra": ("HRAConfig", dict(r=8, target_modules=ALL)),
    "fourierft": ("FourierFTConfig", dict(n_frequency=2000, scaling=100.0, target_modules=ALL)),
    "waveft": ("WaveFTConfig", dict(n_frequency=2592, scaling=25.0, target_modules=ALL)),
    "c3a": ("C3AConfig", dict(block_size=64, target_modules=ALL)),
    "miss": ("MissConfig", dict(r=16, target_modules=ALL)),
    "bone": ("MissConfig", dict(r=16, target_modules=ALL, init_weights="bat")),
    "shira": ("ShiraConfig", dict(r=8, target_modules=ALL)),
    "ln_tuning": ("LNTuningConfig", dict(target_modules=["input_layernorm", "post_attention_layernorm", "norm"])),
    "vblora": ("VBLoRAConfig", dict(r=4, num_vectors=256, vector_length=64, target_modules=ALL)),
    "randlora": ("RandLoraConfig", dict(r=32, randlora_alpha=64, target_modules=ALL)),
    "trainable_tokens": ("TrainableTokensConfig", dict(token_indices=list(range(1000, 1064)), target_modules=["embed_tokens"])),
    "prompt_tuning": ("PromptTuningConfig", dict(num_virtual_tokens=16)),
    "prefix_tuning": ("PrefixTuningConfig", dict(num_virtual_tokens=16)),
    "p_tuning": ("PromptEncoderConfig", dict(num_virtual_tokens=16, encoder_hidden_size=128)),
    "longlora": (None, dict(r=8, lora_alpha=16, target_modules=ALL)),
    "llamapro": (None, dict(num_new_blocks=2)),
    "neftune": (None, dict(noise_alpha=5.0)),
    "adapter": (None, dict(dim=576, target_modules=r"model\.layers\.\d+\.mlp", adapter_length=32)),
    "reft": (None, dict(r=4)),
    "part": (None, dict(target_modules=r"model\.layers\.2\d\.mlp\.down_proj")),
    "hira": ("HiraConfig", dict(r=8, target_modules=ALL)),
    "road": ("RoadConfig", dict(variant="road_1", group_size=64, target_modules=ALL)),
}
# The whole model: keys of the job instead of a tuner. Only plain full tuning has a side of transformers' own.
FULL = {
    "full": {},
    "lisa": {"lisa_activated_layers": 2, "lisa_step_interval": 4},
    "galore": {"use_galore": True, "galore_rank": 64},
    "q-galore": {"use_galore": True, "galore_rank": 64, "galore_quantization": True},
}
CASES = [*TUNERS, *FULL]
# What a step may cost, as a multiple of LoRA's; LoRA's own as a part of full tuning's.
AIM, AIMS, LORA_OF_FULL = 1.15, {"boft": 1.5}, 0.75
# SmolLM2's layers (outputs, inputs), how many of each, and its tied output embedding.
LINEARS = [((576, 576), 60), ((192, 576), 60), ((1536, 576), 60), ((576, 1536), 30)]
HEAD = 49152 * 576
# A job's tuner type where several entries share one.
TYPES = {"dora": "lora", "rslora": "lora", "pissa": "lora", "bone": "miss"}
# Too little of its own to be trained alone.
WITH_LORA = {"neftune"}


def job_tuners(name):
    """The keys of a job that say what is trained."""
    if name in FULL:
        return {"tuner_type": "full", **FULL[name]}
    tuners = {"default": {"type": TYPES.get(name, name), **TUNERS[name][1]}}
    if name in WITH_LORA:
        tuners["lora"] = {"type": "lora", **TUNERS["lora"][1]}
    return {"tuners": tuners}


def has_peft_side(name):
    return name == "full" or name in TUNERS and TUNERS[name][0] is not None


def step_time(moments):
    return statistics.median(b - a for a, b in zip(moments[WARM_UP_STEPS - 1:], moments[WARM_UP_STEPS:]))


def run_ours(scratch, directory, options, name, number):
    output = scratch / f"ours-{name}-{number}"
    job = {**programs.PLAIN_STEP, "model": str(directory), "torch_dtype": options.dtype, **job_tuners(name),
           "dataset": [str(scratch / "rows.jsonl")], "max_steps": options.steps, "learning_rate": LEARNING_RATE,
           "per_device_train_batch_size": options.batch}
    for key in ("lora_rank", "lora_alpha", "lora_dropout"):
        job.pop(key, None)
    command = programs.trainer_command(job, output)
    with (scratch / f"{output.name}.log").open("w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=lora_vs_peft.pinned_environment(),
                                   preexec_fn=lora_vs_peft.pin)
        try:
            moments = lora_vs_peft.watch_steps(output / "logging.jsonl", process, options.steps)
        except SystemExit:
            lora_vs_peft.ended(process)
            return {"failed": (scratch / f"{output.name}.log").read_text().strip().splitlines()[-1:]}
    code, peak = lora_vs_peft.ended(process)
    if code != 0:
        return {"failed": f"exit code {code}"}
    losses = [record["loss"] for record in programs.step_records(output)]
    return {"step_s": step_time(moments), "peak_rss_mib": peak, "trainable": programs.result(output)["trainable_parameters"],
            "losses": losses}


def run_peft(scratch, directory, options, name, number):
    printed = scratch / f"peft-{name}-{number}.json"
    with printed.open("w") as out:
        process = lora_vs_peft.start([sys.executable, __file__, "--peft-side", name, "--steps", options.steps, "--batch",
                                      options.batch, "--dtype", options.dtype, directory, scratch / "rows.json"], out)
        code, peak = lora_vs_peft.ended(process)
    if code != 0:
        return {"failed": f"exit code {code}"}
    return {**json.loads(printed.read_text().splitlines()[-1]), "peak_rss_mib": peak}


def peft_side(options):
    """In a process of its own: trains PEFT's tuner and prints one line of JSON."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(lora_vs_peft.CORES)
    torch.manual_seed(0)
    directory, rows_file = options.paths
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, options.dtype))
    if options.peft_side in TUNERS:
        config_class, fields = TUNERS[options.peft_side]
        model = peft.get_peft_model(model, getattr(peft, config_class)(task_type="CAUSAL_LM", **fields))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    rows = torch.tensor(json.loads(Path(rows_file).read_text()))
    moments, losses = [], []
    model.train()
    for step in range(options.steps):
        ids = rows[[(step * options.batch + i) % len(rows) for i in range(options.batch)]]
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        if hasattr(getattr(model, "base_model", None), "update_and_allocate"):
            model.base_model.update_and_allocate(step + 1)
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        moments.append(time.monotonic())
    print(json.dumps({"step_s": step_time(moments), "losses": losses, "trainable": sum(p.numel() for p in trained)}))


def prepare(scratch, directory, options):
    """Rows of real text: two batches, so that the loss falls within a few steps."""
    from transformers import AutoTokenizer
    text = "\n".join(path.read_text() for path in sorted(programs.ROOT.glob("**/README.md"))
                     if not {".venv", "build", ".data"} & set(path.relative_to(programs.ROOT).parts))
    ids = AutoTokenizer.from_pretrained(directory)(text)["input_ids"]
    count = 2 * options.batch
    if len(ids) < count * options.length:
        sys.exit(f"too little text for {count} rows of {options.length} tokens: {len(ids)} tokens")
    rows = [ids[i * options.length:(i + 1) * options.length] for i in range(count)]
    (scratch / "rows.json").write_text(json.dumps(rows))
    programs.write_rows(scratch / "rows.jsonl", rows)


def ratio(run, field, loras):
    known = [lora[field] for lora in loras if "failed" not in lora]
    return run[field] / statistics.mean(known) if known and "failed" not in run else None


def shown(number, width, digits=2):
    return f"{'-' if number is None else f'{number:.{digits}f}':>{width}}"


def row_of(name, runs, loras):
    row = {"tuner": name, **{side: run for side, run in runs.items()}}
    for side, run in runs.items():
        row[f"{side}_step_ratio"] = ratio(run, "step_s", [lora[side] for lora in loras if side in lora])
        row[f"{side}_memory_ratio"] = ratio(run, "peak_rss_mib", [lora[side] for lora in loras if side in lora])
    return row


def show(row):
    ours, peft = row["ours"], row.get("peft", {"failed": ""})
    if "failed" in ours:
        print(f"{row['tuner']:17} failed: {ours['failed']}", flush=True)
        return
    fall = ours["losses"][0] - ours["losses"][-1]
    against = ours["step_s"] / peft["step_s"] if "failed" not in peft else None
    print(f"{row['tuner']:17} {ours['trainable']:>10,} {fall:8.3f} {ours['step_s']:7.3f} {shown(row['ours_step_ratio'], 7)} "
          f"{shown(row['ours_memory_ratio'], 7)} {peft.get('trainable', 0):>11,} {shown(row.get('peft_step_ratio'), 7)} "
          f"{shown(row.get('peft_memory_ratio'), 7)} {shown(against, 9)}", flush=True)


def measure(scratch, directory, options, names):
    sides = {"ours": run_ours, **({} if options.no_peft else {"peft": run_peft})}

    def runs_of(name, number):
        return {side: run(scratch, directory, options, name, number) for side, run in sides.items()
                if side == "ours" or has_peft_side(name)}

    print(f"{'':17} {'trainable':>10} {'loss':>8} {'step':>7} {'time':>7} {'memory':>7} {'PEFT:':>11} {'time':>7} {'memory':>7} "
          f"{'ours/PEFT':>9}\n{'':17} {'':>10} {'fall':>8} {'s':>7} {'/LoRA':>7} {'/LoRA':>7} {'trainable':>11} {'/LoRA':>7} "
          f"{'/LoRA':>7} {'time':>9}")
    rows, lora = [], runs_of("lora", 0)
    names = [name for name in names if name != "lora"]
    show(row_of("lora", lora, [lora]))
    rows.append(row_of("lora", lora, [lora]))
    for first in range(0, len(names), LORA_EVERY):
        measured = {name: runs_of(name, 0) for name in names[first:first + LORA_EVERY]}
        after = runs_of("lora", first + 1)
        for name, runs in measured.items():
            rows.append(row_of(name, runs, [lora, after]))
            show(rows[-1])
        lora = after
    return rows


def own_products(name, out, inputs, tokens):
    """Multiplications of a token, forward and backward, that the tuner's formula takes at one linear layer beside the base's."""
    fields, narrow, wide = TUNERS[name][1], min(out, inputs), max(out, inputs)
    if name == "vera":  # frozen factors: both ways, no gradient of their own
        return 2 * fields["r"] * (out + inputs)
    if name in ("hira", "bone"):  # the gradient of a whole weight, and the update formed and differentiated once in a pass
        return out * inputs * (1 + (3 if name == "hira" else 2) * fields["r"] / tokens)
    if name == "randlora":  # of full rank: in factors, or formed once in a pass
        return min(narrow * (2 * wide + 3 * narrow), out * inputs * (1 + 2 * narrow / tokens))
    return 3 * TUNERS["lora"][1]["r"] * (out + inputs)


def products(name, tokens):
    """A step's products as a multiple of LoRA's. What is measured may be lower: a step, LoRA's too, has more in it than products."""
    def step(tuner):
        layers = sum(count * (2 * out * inputs + own_products(tuner, out, inputs, tokens)) for (out, inputs), count in LINEARS)
        return layers + HEAD * (3 if tuner == "longlora" else 2)  # LongLoRA trains the embedding
    return step(name) / step("lora")


def against_aims(rows, tokens):
    """What costs more than it should; the table says how much."""
    ratios = {row["tuner"]: row["ours_step_ratio"] for row in rows if row["ours_step_ratio"]}
    above = [f"{name} {value:.2f} (aim {AIMS.get(name, AIM)}, its products alone {products(name, tokens):.2f})"
             for name, value in ratios.items() if name in TUNERS and value > AIMS.get(name, AIM)]
    print("above the aim: " + (", ".join(above) or "none"))
    if "full" in ratios:
        print(f"LoRA's step is {1 / ratios['full']:.2f} of full tuning's (aim {LORA_OF_FULL})")


def save(rows, about, name):
    path = lora_vs_peft.RESULTS / f"{name}.json"
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    same = all(earlier.get(key) == about[key] for key in ("settings", "cpu", "cores_used"))
    kept = {row["tuner"]: row for row in earlier["results"]} if same else {}
    kept.update({row["tuner"]: row for row in rows})
    results = [kept[name] for name in CASES if name in kept]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    print(f"written: {path.relative_to(programs.ROOT)}, {len(results)} tuners")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--no-peft", action="store_true")
    parser.add_argument("--save", nargs="?", const="tuners", metavar="NAME", help="write the result file")
    parser.add_argument("--peft-side", help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peft_side:
        return peft_side(options)
    if options.steps <= WARM_UP_STEPS:
        parser.error(f"--steps must be above {WARM_UP_STEPS}")
    scratch, directory = programs.scratch("tuners"), programs.model_directory()
    settings = {name: getattr(options, name) for name in ("steps", "batch", "length", "dtype")}
    about = {"command": "tests/bench/tuners.py", "settings": settings, **lora_vs_peft.machine()}
    prepare(scratch, directory, options)
    rows = measure(scratch, directory, options, options.only)
    against_aims(rows, options.batch * options.length)
    if options.save:
        save(rows, about, options.save)


if __name__ == "__main__":
    main()
