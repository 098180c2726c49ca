"""Texts that are hard on a tokenizer, the same on every machine: code, prose in many scripts, emoji and their joiners,
combining marks, white space, digits, look-alikes of special tokens, and random characters of all of Unicode.

    .venv/bin/python tests/oracle/tokenizer_corpus.py OUT.jsonl [BYTES]

Writes one JSON string a line, at least BYTES bytes of UTF-8 text (default 2 MiB).
"""

import json
import random
import sys
from pathlib import Path

PROSE = """The quick brown fox doesn't jump; it's they'll, we've, I'M, YOU'RE, he'd've. Don’t “quote” me—ok?
Größe, façade, naïve coöperation, Ångström, smørrebrød, Łódź, İstanbul, ſtraße, ﬁnance, ½ cup, x², H₂O, №5, ℃, Ⅷ.
Съешь же ещё этих мягких французских булок, да выпей чаю. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
דג סקרן שט בים מאוכזב ולפתע מצא חברה. نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق ١٢٣٤٥
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम। १२३
นายสังฆภัณฑ์ เฮงพิทักษ์ฝั่ง ผู้เฒ่าซึ่งมีอาชีพเป็นฅนขายฃวด ถูกตำรวจปฏิบัติการจับฟ้องศาล
いろはにほへと ちりぬるを 我が世たれぞ 常ならむ。カタカナ、ｶﾀｶﾅ、ＦＵＬＬ　ＷＩＤＴＨ　１２３。
天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。我能吞下玻璃而不傷身體。𠜎𠜱𠝹𠱓
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 한글 ᄒᆞᆫ글
ყველა ადამიანი იბადება თავისუფალი. Ամեն մարդ ծնվում է ազատ։ ᏣᎳᎩ ᚠᛇᚻ ꧁ꦗꦮ꧂ 𐍈 𝒳𝓎𝓏 𝟘𝟙𝟚"""
CODE = '''def f(x: int, *args, **kw) -> "list[int]":\n    """doc"""\n\tif x>=0 and not (x%2): return [i**2 for i in range(x)]\n
#include <vector>\ntemplate <typename T> T&& move(T& v) noexcept { return static_cast<T&&>(v); }  // C++\r\n
SELECT a.id, COUNT(*) FROM t AS a WHERE a.x <> 'it''s' GROUP BY 1;\n<div class="a b">&nbsp;&#x27;</div>\n
{"k": [1, 2.5e-10, null, true], "s": "\\u00e9\\n"}\nλ = lambda _: ...; x += 0xDEAD_BEEF ^ 0b1010; $PATH:~/.cfg\n'''
EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👩🏽‍💻", "🇩🇪🇯🇵", "❤️", "☠️", "1️⃣", "🫠", "🧑‍🚀", "🐻‍❄️", "🪿", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "✅", "©️", "🫨"]
SPACES = [" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u200b", "\u3000", "\u2028", "\u0085",
          "\u180e", "\ufeff", "\x0b", "\x0c", "\x1c", "\x00", " " * 17, "\n" * 9, " \n \n", "\t \t"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|", "<|im_end|>>", "< |im_end|>", "<|begin_of_text|>",
           "<|eot_id|>", "<s>", "</s>", "<|<|im_end|>", "<think>", "<repo_name>", "[MASK]", "<file_sep>", "<|im_start|>user\n"]
MARKS = ["e\u0301", "a\u0308\u0323", "\u0915\u094d\u0937", "Z\u0351\u036b\u0343", "\u0e01\u0e33", "o\u0302\u0301", "\u200d", "\ufe0f"]
NUMBERS = ["0", "7", "42", "123", "1234", "12345", "1,234,567.89", "3.14159", "２０２４", "٣٤", "Ⅻ", "①②", "1e-9", "½", "𐄣", "𑁧"]


def words(rng):
    return rng.choice(PROSE.split(rng.choice([" ", ". ", ", "])))


def random_character(rng):
    top = rng.choice([0x7F, 0xFF, 0x7FF, 0x3000, 0xFFFF, 0x1FFFF, 0x3FFFF, 0x10FFFF])
    while True:
        c = rng.randrange(top + 1)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def piece(rng):
    kind = rng.randrange(12)
    if kind < 3:
        return words(rng) + rng.choice(["", " ", "'s ", "'LL ", "’t ", ".", "!?", " …"])
    if kind < 5:
        start = rng.randrange(len(CODE))
        return CODE[start : start + rng.randrange(1, 60)]
    if kind == 5:
        return "".join(random_character(rng) for _ in range(rng.randrange(1, 20)))
    choices = [EMOJI, SPACES, SPECIAL, MARKS, NUMBERS, SPACES][kind - 6]
    return "".join(rng.choice(choices) for _ in range(rng.randrange(1, 4)))


def texts(target_bytes, seed=20240607):
    """Yields texts of a few words to a few hundred; together at least `target_bytes`."""
    rng = random.Random(seed)
    fixed = [PROSE, CODE, "", " ", "\n", "a", "x" * 5000, " " * 5000, "\n" * 3000, "ab" * 3000, "7" * 1000, "é" * 2000, "中" * 2000,
             "a " * 1000, "".join(EMOJI), "".join(SPECIAL), "!" * 700, "ſ'ſ 'ſ 'S 'Ll", "\u180e \u180e\u180e x\u180e"]
    # Every letter, number and space of the planes in use: classes must agree character by character.
    for start in range(0, 0x32000, 0x100):
        block = [chr(c) for c in range(start, start + 0x100) if not 0xD800 <= c <= 0xDFFF]
        fixed += [" ".join(block), "".join(block), "a".join(block)]
    total = 0
    for text in fixed:
        total += len(text.encode())
        yield text
    while total < target_bytes:
        text = "".join(piece(rng) for _ in range(rng.randrange(1, 60)))
        total += len(text.encode())
        yield text


def main():
    out = Path(sys.argv[1])
    target = int(sys.argv[2]) if len(sys.argv) > 2 else 2 << 20
    with out.open("w", encoding="utf-8") as file:
        for text in texts(target):
            file.write(json.dumps(text) + "\n")


if __name__ == "__main__":
    main()
