#!/usr/bin/env python3
"""Measures our trainer and PEFT side by side: the same model, starting adapter, token rows and two cores.

  lora_vs_peft.py [--steps 12] [--rounds 2] [--batch 2] [--length 256] [--dtypes float32 bfloat16] [--save [NAME]]

The two take turns (ours, PEFT, ours, PEFT …), so that a change in the machine's mood meets both. Printed for each dtype: the
median of the rounds. --save writes all rounds to results/lora_vs_peft.json (or NAME.json, for another machine),
with the command and the machine.

How ours is timed: from outside, by the moments at which lines appear in its logging.jsonl, polled each 2 ms; PEFT reports its
own clock, which starts after the interpreter did. Peak memory is the kernel's figure for each process (wait4).
"""
import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import programs

CORES = 2
WARM_UP_STEPS = 2
POLL_S = 0.002
RESULTS = Path(__file__).resolve().parent / "results"


def pinned_environment():
    return {**os.environ, "OMP_NUM_THREADS": str(CORES)}


def pin():
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def start(command, out):
    return subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.DEVNULL, env=pinned_environment(),
                            preexec_fn=pin)


def ended(process):
    """Waits for the process; returns its exit code and peak resident memory in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024


def watch_steps(log, process, steps):
    """The moments at which the lines of steps 1 … `steps` appeared in the log."""
    moments, seen = [], 0
    while len(moments) < steps:
        exited = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if log.exists() and log.stat().st_size > seen:
            text = log.read_text()
            seen = len(text.encode())
            lines = sum('"loss"' in line for line in text.splitlines()[:text.count("\n")])
            moments += [time.monotonic()] * (lines - len(moments))
        elif exited:
            sys.exit(f"the trainer ended after {len(moments)} of {steps} steps")
        time.sleep(POLL_S)
    return moments


def run_ours(scratch, directory, options, dtype, number):
    output = scratch / f"ours-{dtype}-{number}"
    job = {**programs.PLAIN_STEP, "model": str(directory), "torch_dtype": dtype, "adapters": [str(scratch / "init")],
           "dataset": [str(scratch / "rows.jsonl")], "max_steps": options.steps,
           "per_device_train_batch_size": options.batch}
    command = programs.trainer_command(job, output)
    started = time.monotonic()
    process = start(command, subprocess.DEVNULL)
    moments = watch_steps(output / "logging.jsonl", process, options.steps)
    code, peak = ended(process)
    if code != 0:
        sys.exit(f"the trainer failed with exit code {code}: {' '.join(map(str, command))}")
    timed = options.batch * options.length * (options.steps - WARM_UP_STEPS)
    return {"tokens_per_s": timed / (moments[-1] - moments[WARM_UP_STEPS - 1]), "first_step_s": moments[0] - started,
            "peak_rss_mib": peak, "losses": [record["loss"] for record in programs.step_records(output)]}


def run_peft(scratch, directory, options, dtype, number):
    printed = scratch / f"peft-{dtype}-{number}.json"
    with printed.open("w") as out:
        process = start([sys.executable, programs.ROOT / "tests/oracle/peft_lora.py", directory, "--adapter", scratch / "init",
                         "--tokens", scratch / "rows.json", "--steps", options.steps, "--warmup", WARM_UP_STEPS, "--batch",
                         options.batch, "--dtype", dtype, "--threads", CORES], out)
        code, peak = ended(process)
    if code != 0:
        sys.exit(f"PEFT failed with exit code {code}")
    said = json.loads(printed.read_text().splitlines()[-1])
    return {"tokens_per_s": said["tokens_per_s"], "first_step_s": said["first_step_s"], "peak_rss_mib": peak,
            "losses": said["losses"]}


def prepare(scratch, directory, options):
    random.seed(4)
    vocabulary = json.loads((directory / "config.json").read_text())["vocab_size"]
    rows = [[random.randrange(vocabulary) for _ in range(options.length)] for _ in range(options.batch * 4)]
    (scratch / "rows.json").write_text(json.dumps(rows))
    programs.write_rows(scratch / "rows.jsonl", rows)
    programs.must_run([sys.executable, programs.ROOT / "tests/oracle/peft_lora.py", directory, "--save-init",
                       scratch / "init"], timeout_s=300)


def summary(rounds):
    medians = {side: {field: statistics.median(round_[side][field] for round_ in rounds)
                      for field in ("tokens_per_s", "first_step_s", "peak_rss_mib")} for side in ("ours", "peft")}
    worst = max(abs(a - b) / abs(b) for round_ in rounds for a, b in zip(round_["ours"]["losses"], round_["peft"]["losses"]))
    return {**medians, "speed_ratio": medians["ours"]["tokens_per_s"] / medians["peft"]["tokens_per_s"],
            "largest_relative_loss_difference": worst}


def show(dtype, found):
    for side in ("ours", "peft"):
        row = found[side]
        print(f"{dtype:9} {side:5} {row['tokens_per_s']:10.1f} {row['peak_rss_mib']:10.0f} {row['first_step_s']:12.2f}")
    print(f"{dtype:9} ratio {found['speed_ratio']:9.2f}x {found['ours']['peak_rss_mib'] / found['peft']['peak_rss_mib']:9.2f}x"
          f"   (losses differ by at most {found['largest_relative_loss_difference']:.1e})", flush=True)


def machine():
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())
    commit = programs.run(["git", "-C", programs.ROOT, "rev-parse", "--short", "HEAD"], 10).out.strip()
    return {"cpu": model, "cores_used": CORES, "load_before": os.getloadavg()[0], "commit": commit,
            "date": datetime.date.today().isoformat()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--save", nargs="?", const="lora_vs_peft", metavar="NAME", help="write the result file")
    options = parser.parse_args()
    scratch, directory = programs.scratch("bench"), programs.model_directory()
    about = {"command": "tests/bench/lora_vs_peft.py " + " ".join(sys.argv[1:]), **machine()}
    prepare(scratch, directory, options)
    print(f"{'dtype':9} {'':5} {'tokens/s':>10} {'peak MiB':>10} {'first step s':>12}")
    results = {}
    for dtype in options.dtypes:
        rounds = [{"ours": run_ours(scratch, directory, options, dtype, number),
                   "peft": run_peft(scratch, directory, options, dtype, number)} for number in range(options.rounds)]
        results[dtype] = {**summary(rounds), "rounds": rounds}
        show(dtype, results[dtype])
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{options.save}.json"
        path.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
        print(f"written: {path.relative_to(programs.ROOT)}")


if __name__ == "__main__":
    main()
