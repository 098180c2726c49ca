"""Prints worker/data/unicode_tables.h: where the Unicode tables inside the `tokenizers` package differ from those of PCRE2
(10.42, Unicode 14) and utf8proc (2.8, Unicode 15). The package has several, of different age.

    .venv/bin/python tests/oracle/unicode_tables.py > worker/data/unicode_tables.h
"""

import ctypes

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So".split()
UTF, UCP = 0x00080000, 0x00020000

pcre2 = ctypes.CDLL("libpcre2-8.so.0")
pcre2.pcre2_compile_8.restype = ctypes.c_void_p
pcre2.pcre2_match_data_create_8.restype = ctypes.c_void_p
match_data = ctypes.c_void_p(pcre2.pcre2_match_data_create_8(ctypes.c_uint32(1), None))
characters = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]
everything = "".join(map(chr, characters))


def by_oniguruma(category):
    split = pre_tokenizers.Split(Regex(r"\p{%s}" % category), "removed")
    return set(characters) - {ord(c) for piece, _ in split.pre_tokenize_str(everything) for c in piece}


def by_pcre2(category):
    pattern = rf"^\p{{{category}}}".encode()
    error, offset = ctypes.c_int(), ctypes.c_size_t()
    code = ctypes.c_void_p(
        pcre2.pcre2_compile_8(
            pattern,
            ctypes.c_size_t(len(pattern)),
            ctypes.c_uint32(UTF | UCP),
            ctypes.byref(error),
            ctypes.byref(offset),
            None,
        )
    )

    def matches(c):
        text = chr(c).encode()
        return pcre2.pcre2_match_8(code, text, ctypes.c_size_t(len(text)), ctypes.c_size_t(0), 0, match_data, None) >= 0

    return {c for c in characters if matches(c)}


def punctuation():
    """What the Punctuation pre-tokenizer takes; ASCII symbols are its own rule."""
    pieces = pre_tokenizers.Punctuation("removed").pre_tokenize_str(everything)
    return set(characters) - {ord(c) for piece, _ in pieces for c in piece} - set(range(128))


def digits():
    """What the Digits pre-tokenizer takes."""
    text = "".join("a" + chr(c) + "a" for c in characters)
    pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str(text)
    return {ord(piece) for piece, _ in pieces if len(piece) == 1 and piece != "a"}


def unassigned_to_normalizers():
    """Characters that the package's normalizers leave alone, as it is older than they are, and utf8proc does not."""
    utf8proc, libc = ctypes.CDLL("libutf8proc.so.2"), ctypes.CDLL(None)
    utf8proc.utf8proc_map.restype = ctypes.c_ssize_t
    stable, compose, decompose, compat = 2, 8, 16, 4
    forms = [
        (normalizers.NFC(), stable | compose),
        (normalizers.NFD(), stable | decompose),
        (normalizers.NFKC(), stable | compose | compat),
        (normalizers.NFKD(), stable | decompose | compat),
    ]

    def mapped(text, options):
        out, data = ctypes.c_void_p(), text.encode()
        length = utf8proc.utf8proc_map(data, ctypes.c_ssize_t(len(data)), ctypes.byref(out), options)
        result = ctypes.string_at(out, length).decode()
        libc.free(out)
        return result

    def differs(c):
        text = f"a\u0316{chr(c)}\u0316\u0301{chr(c)}b{chr(c)}\u1161\u0301"
        return any(form.normalize_str(text) != mapped(text, options) for form, options in forms)

    return {c for c in characters if differs(c)}


def lower_cases():
    """(character, its lower case) where utf8proc has another one; U+0130 has two characters and is ours to know."""
    utf8proc = ctypes.CDLL("libutf8proc.so.2")
    lower = normalizers.Lowercase()
    pairs = [(c, lower.normalize_str(chr(c))) for c in characters]
    return [(c, ord(to)) for c, to in pairs if len(to) == 1 and ord(to) != utf8proc.utf8proc_tolower(c)]


def spans(found):
    out = []
    for c in sorted(found):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def runs(found):
    return "".join(rf"\x{{{a:X}}}" if a == b else rf"\x{{{a:X}}}-\x{{{b:X}}}" for a, b in spans(found))


print("""#pragma once

#include <array>
#include <string_view>

namespace tunefleet::data {

// Printed by tests/oracle/unicode_tables.py. Where the `tokenizers` package differs from PCRE2 and utf8proc;
// ranges as they stand in a character class.

// clang-format off

/// Characters of a general category that PCRE2's tables (Unicode 14) do not have and Oniguruma's (16) do.
struct UnicodeAdditions {
  std::string_view category;
  std::string_view ranges;
};
inline constexpr auto kUnicodeAdditions = std::to_array<UnicodeAdditions>({""")
for category in CATEGORIES:
    added = by_oniguruma(category) - by_pcre2(category)
    if added:
        print(f'    {{"{category}", R"({runs(added)})"}},')
print("});\n\n/// Besides \\p{N}: what the Digits pre-tokenizer counts as numeric.")
print(f'inline constexpr std::string_view kOtherDigits = R"({runs(digits() - by_oniguruma("N"))})";')
print("\n/// Besides \\p{P}, and less than it: what the Punctuation pre-tokenizer takes.")
ours, theirs = by_oniguruma("P"), punctuation()
print(f'inline constexpr std::string_view kOtherPunctuation = R"({runs(theirs - ours)})";')
print(f'inline constexpr std::string_view kNotPunctuation = R"({runs({c for c in ours - theirs if c > 127})})";')
print("""
/// First and last of characters that the normalizers leave as they are: they came after Unicode 9.
struct CharacterRange {
  char32_t first;
  char32_t last;
};
inline constexpr auto kLeftByNormalizers = std::to_array<CharacterRange>({""")
for first, last in spans(unassigned_to_normalizers()):
    print(f"    {{0x{first:X}, 0x{last:X}}},")
print("""});

/// A capital letter that utf8proc does not know.
struct CasePair {
  char32_t upper;
  char32_t lower;
};
inline constexpr auto kLowerCases = std::to_array<CasePair>({""")
for upper, to in lower_cases():
    print(f"    {{0x{upper:X}, 0x{to:X}}},")
print("""});

// clang-format on

}  // namespace tunefleet::data""")
