#!/usr/bin/env python3
"""A test double of tunefleet-trainer for tests of the API's protocol: it trains nothing.

    fake_trainer.py run <run>/job.json --output-dir <run>

The job's `name` says how it goes: "slow" waits for SIGTERM, "bad" ends as for wrong input, every other name leaves what a
finished run leaves.
"""
import json
import os
import signal
import sys
import time
from pathlib import Path


def main():
    job = json.loads(Path(sys.argv[2]).read_text())
    run = Path(sys.argv[sys.argv.index("--output-dir") + 1])
    rank = int(os.environ.get("OMPI_COMM_WORLD_RANK", "0"))
    print(f"rank {rank} runs {job['name']}", flush=True)
    if job["name"] == "slow":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        time.sleep(120)
    if job["name"] == "bad":
        error = {"code": "invalid_argument", "message": "the adapter does not fit the model"}
        (Path(os.environ["TUNEFLEET_EXIT_DIR"]) / f"{rank}.error.json").write_text(json.dumps(error))
        sys.exit(2)
    for dataset in job["dataset"]:
        assert Path(dataset).is_file(), dataset
    if rank == 0:
        checkpoint = run / "checkpoint-3"
        checkpoint.mkdir(exist_ok=True)
        result = {"checkpoint": str(checkpoint), "step": 3, "max_steps": 3, "trained_tokens": 30, "train_loss": 1.5,
                  "eval_loss_before": None, "eval_loss": None, "tokens_per_s": 10.0, "seconds": 0.1, "stopped_by": "end",
                  "adapters": ["default"]}
        (run / "result.json").write_text(json.dumps(result))


main()
