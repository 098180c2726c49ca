#!/usr/bin/env python3
"""Makes a training set from Ambrose Bierce's "The Devil's Dictionary" (1911, public domain) as Debian packs it.

    devil_dataset.py OUTPUT_DIR [--dictionary DIR] [--held-out-every N]

Writes OUTPUT_DIR/devil.jsonl and OUTPUT_DIR/devil-heldout.jsonl, one conversation a line:
    {"messages": [{"role": "user", "content": "Define happiness."},
                  {"role": "assistant", "content": "Happiness, n. An agreeable sensation arising from …"}]}
Kept is the book's prose: verse, signatures and cross-references are left out, lines are joined. Which entries are held out
depends on the headword alone, so the same book gives the same two files everywhere.

Format read: dictd's, an index of (headword, offset, length) in base 64 over a gzip file.
"""
import argparse
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
PART_OF_SPEECH = r"(?:n\.pl|n|v\.t|v\.i|v|adj\. and n|adj|adv|pp|p\.p|pron?|x)\."
ENTRY = re.compile(rf"(?P<head>[A-Z][A-Z'. ,()a-z?-]*?)(?:,?\s*\b(?P<pos>{PART_OF_SPEECH})|[.?])\s+(?P<text>.+)", re.S)
LETTER = re.compile(r"(?P<head>[A-Z]),? (?=is |in |has |\(double|the )")  # An entry on a letter is one sentence with it.
UNFIT = re.compile(r"\b(?:ni[g]{2}er|negro)", re.I)  # Words of 1911 that a model of today should not learn.
SHORTEST, LONGEST = 20, 700  # Characters of a definition that teach the voice and fit a short row.


def number(text):
    value = 0
    for character in text:
        value = value * 64 + DIGITS.index(character)
    return value


def entries(directory):
    """Yields the text of every entry once, in the book's order."""
    book = gzip.open(directory / "devil.dict.dz").read()
    places = set()
    for line in (directory / "devil.index").read_text(encoding="utf-8").splitlines():
        word, offset, length = line.split("\t")
        if not word.startswith("00"):
            places.add((number(offset), number(length)))
    for offset, length in sorted(places):
        yield book[offset:offset + length].decode("utf-8")


def prose(entry):
    """Joins the prose paragraphs of an entry; verse and signatures are those whose every line is indented."""
    kept = []
    for paragraph in re.split(r"\n\s*\n", entry.strip("\n")):
        lines = paragraph.split("\n")
        if all(line.startswith("  ") for line in lines if line.strip()):
            continue
        lines = [line for line in lines if not line.startswith(" " * 30)]
        kept.append(" ".join(line.strip() for line in lines))
    return "\n".join(kept)


def cleaned(text):
    text = re.sub(r"(\w)- (\w)", r"\1-\2", text)  # A word broken at the end of a line.
    text = re.sub(r"\s*\[(?:sic|Latin|from [^]]*)\]|\s*\((?:_?q\.\s?v\._?|See [^)]*)\)", "", text)
    text = re.sub(r"_([^_]+)_", r"\1", text)  # Italics.
    return re.sub(r"[ \t]+", " ", text).strip()


def shortened(text):
    """Whole sentences of `text`, at least one, up to LONGEST characters."""
    text = " ".join(text.split("\n"))
    if len(text) <= LONGEST:
        return text
    ends = [match.end() for match in re.finditer(r"[.!?][\"')]*(?= |$)", text)]
    fitting = [end for end in ends if end <= LONGEST]
    return text[:fitting[-1] if fitting else ends[0] if ends else len(text)].strip()


def capitalised(head):
    """The headword as a sentence writes it: `Happiness`, `R.I.P.`, `Babe or Baby`."""
    if "." in head:
        return head
    return re.sub(r"\bOr\b", "or", " ".join(word.capitalize() for word in head.split(" ")))


def conversation(entry):
    """The entry as (headword, row), or None for one without prose of its own."""
    text = cleaned(prose(entry))
    letter, match = LETTER.match(text), ENTRY.match(text)
    if letter:
        head, definition = letter["head"], shortened(text)
        answer = definition
    elif match:
        head, definition = match["head"].strip(" ,"), shortened(match["text"])
        title = f"{capitalised(head)}, {match['pos']}" if match["pos"] else capitalised(head).rstrip(".") + "."
        answer = f"{title} {definition}"
    else:
        return None
    if len(definition) < SHORTEST or definition.startswith("See ") or UNFIT.search(answer):
        return None
    asked = head.lower() if len(head) > 1 and "." not in head else head
    return head, {"messages": [{"role": "user", "content": f"Define {asked.rstrip('.')}."},
                               {"role": "assistant", "content": answer}]}


def held_out(head, every):
    return int.from_bytes(hashlib.sha256(head.encode()).digest()[:8], "big") % every == 0


def write(path, rows):
    aside = path.with_suffix(".partial")
    with aside.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    aside.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dictionary", type=Path, default=Path("/usr/share/dictd"))
    parser.add_argument("--held-out-every", type=int, default=16, help="about one headword in N is held out")
    arguments = parser.parse_args()
    try:
        found = [made for made in map(conversation, entries(arguments.dictionary)) if made]
    except OSError as error:
        sys.exit(f"the dictionary cannot be read; install it with: apt-get install dict-devil: {error}")
    parts = {"devil.jsonl": [], "devil-heldout.jsonl": []}
    for head, row in found:
        parts["devil-heldout.jsonl" if held_out(head, arguments.held_out_every) else "devil.jsonl"].append(row)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        write(arguments.output / name, rows)
        print(f"{arguments.output / name}: {len(rows)} definitions")


if __name__ == "__main__":
    main()
