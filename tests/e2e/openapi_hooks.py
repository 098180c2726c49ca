"""What openapi_fuzz.py gives schemathesis: ids of things that exist, and a check of the service's memory."""
import json
import os
import zlib

import schemathesis

KNOWN = json.loads(os.environ["TUNEFLEET_KNOWN"])  # kind of thing -> ids
PID = int(os.environ["TUNEFLEET_PID"])
MOST_MIB = 400
KINDS = {"files": "file", "uploads": "upload", "sweeps": "sweep", "jobs": "job", "models": "model", "checkpoints": "tuned",
         "webhook_endpoints": "webhook", "keys": "key"}


def half(value):
    """True for every second value, the same ones in every run."""
    return zlib.crc32(repr(value).encode()) % 2 == 0


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Random ids only ever meet the 404: half of them are ids of things that are there."""
    if not path_parameters or not isinstance(path_parameters.get("id"), str) or not half(path_parameters["id"]):
        return path_parameters
    parts = context.operation.path.split("/")
    kind = KINDS.get(parts[parts.index("{id}") - 1])
    ids = KNOWN.get(kind, [])
    if ids:
        path_parameters["id"] = ids[zlib.crc32(path_parameters["id"].encode()) % len(ids)]
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    """A job needs a model and a data set that are there, which a schema cannot say."""
    if not isinstance(body, dict) or not half(body):
        return body
    if isinstance(body.get("model"), str) and body["model"]:
        body["model"] = KNOWN["model"][0]
    if isinstance(body.get("training_file"), str) and body["training_file"]:
        # Beside OpenAI's fields there may stand every key of the job file, but no other.
        body = {key: value for key, value in body.items() if key in KNOWN["job fields"]}
        body |= {"training_file": KNOWN["file"][0], "validation_file": None, "max_steps": 1}
    return body


@schemathesis.check
def memory_is_bounded(context, response, case):
    with open(f"/proc/{PID}/status") as status:
        mib = next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))
    assert mib < MOST_MIB, f"the service has grown to {mib} MiB"
