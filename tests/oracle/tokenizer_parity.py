"""Compares our tokenizer with the `tokenizers` package on every text of a large corpus; the ids must be equal.

    .venv/bin/python tests/oracle/tokenizer_parity.py TOKENIZE_PROGRAM [MODEL_DIRECTORY]

Uses the trained families of tokenizer_cases.py and, where the directory is there, the model's own tokenizer.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
from tokenizer_cases import FAMILIES, write_families  # noqa: E402
from tokenizer_corpus import texts  # noqa: E402

CORPUS_BYTES = 2 << 20


def differences(program, tokenizer_json, corpus, scratch, keeps_text):
    """How many texts got other ids; prints the first few."""
    lines, ids_out = scratch / "texts.jsonl", scratch / "ids.jsonl"
    lines.write_text("".join(json.dumps(text) + "\n" for text in corpus))
    mode = "ids" if keeps_text else "ids-only"
    subprocess.run([program, str(tokenizer_json), mode, str(lines), str(ids_out)], check=True, timeout=300)
    theirs = Tokenizer.from_file(str(tokenizer_json))
    wrong = 0
    for text, line in zip(corpus, ids_out.read_text().splitlines(), strict=True):
        expected = theirs.encode(text, add_special_tokens=False).ids
        ours = json.loads(line)
        if ours != expected:
            wrong += 1
            if wrong <= 3:
                first = next((i for i, (a, b) in enumerate(zip(ours, expected)) if a != b), min(len(ours), len(expected)))
                around = slice(max(0, first - 2), first + 4)
                print(f"  differs at token {first}: ours {[theirs.id_to_token(i) for i in ours[around]]}, "
                      f"theirs {[theirs.id_to_token(i) for i in expected[around]]}, text {text[:80]!r}")
    return wrong


def main():
    program = sys.argv[1]
    corpus = list(texts(CORPUS_BYTES))
    total_bytes = sum(len(text.encode()) for text in corpus)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_families(scratch)
        files = {family: scratch / f"{family}.json" for family in FAMILIES}
        if len(sys.argv) > 2 and (Path(sys.argv[2]) / "tokenizer.json").exists():
            files["model"] = Path(sys.argv[2]) / "tokenizer.json"
        for family, file in files.items():
            # Decoding gives the text again unless something rewrites it, or bytes have no token (SmolLM2 lacks 21).
            keeps_text = "normalizer" not in FAMILIES.get(family, {"normalizer": True})
            wrong = differences(program, file, corpus, scratch, keeps_text)
            failed = failed or wrong > 0
            print(f"{family}: {len(corpus)} texts, {total_bytes} bytes, {wrong} differ", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
