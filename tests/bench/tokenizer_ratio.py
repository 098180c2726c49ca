"""Our tokenizer beside the `tokenizers` package, one thread each, on about 1 MB of mixed text: code and prose of many scripts.

    .venv/bin/python tests/bench/tokenizer_ratio.py TOKENIZE_PROGRAM MODEL_DIRECTORY

Both encode the text line by line, five passes; the fastest of each counts, so caches are warm on both sides.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402

PASSES = 5
BYTES = 1 << 20


def mixed_text():
    """Python's standard library (code and English) with a tenth of other scripts and hard cases."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "oracle"))
    from tokenizer_corpus import PROSE, texts

    code = "".join(path.read_text(errors="ignore") for path in sorted(Path(os.__file__).parent.glob("*.py"))[:120])
    prose = PROSE.split("\n")
    hard = [line for text in texts(1 << 16, seed=3) if len(text) < 400 for line in text.splitlines()]
    rng = random.Random(1)
    lines = []
    size = 0
    for line in code.splitlines():
        pick = line if rng.random() < 0.9 else rng.choice(rng.choice([prose, hard]))
        lines.append(pick.replace("\r", " "))
        size += len(pick.encode()) + 1
        if size >= BYTES:
            break
    return lines


def main():
    program, tokenizer_json = sys.argv[1], Path(sys.argv[2]) / "tokenizer.json"
    lines = mixed_text()
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text"
        text.write_bytes(("\n".join(lines) + "\n").encode())
        size = text.stat().st_size
        lines = [line + "\n" for line in text.read_bytes().decode().split("\n")[:-1]]
        out = subprocess.run(
            [program, str(tokenizer_json), "rate", str(text), str(PASSES)], check=True, capture_output=True, text=True
        ).stdout.split()
    our_tokens, our_seconds = int(out[0]), float(out[1])
    theirs = Tokenizer.from_file(str(tokenizer_json))
    their_seconds = 1e9
    for _ in range(PASSES):
        start = time.perf_counter()
        their_tokens = sum(len(theirs.encode(line, add_special_tokens=False).ids) for line in lines)
        their_seconds = min(their_seconds, time.perf_counter() - start)
    assert our_tokens == their_tokens, (our_tokens, their_tokens)
    print(f"text: {size} bytes, {our_tokens} tokens")
    print(f"ours:       {our_tokens / our_seconds / 1e6:6.2f} M tokens/s, {size / our_seconds / 1e6:6.1f} MB/s")
    print(f"tokenizers: {their_tokens / their_seconds / 1e6:6.2f} M tokens/s, {size / their_seconds / 1e6:6.1f} MB/s")
    print(f"ratio: {their_seconds / our_seconds:.2f}")


if __name__ == "__main__":
    main()
