"""Prints worker/data/unicode_additions.h: the characters that Oniguruma, as the `tokenizers` package carries it, puts into
a general category and PCRE2 10.42 (Unicode 14) does not know yet.

    .venv/bin/python tests/oracle/unicode_additions.py > worker/data/unicode_additions.h
"""

import ctypes

from tokenizers import Regex, pre_tokenizers

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


def runs(found):
    out = []
    for c in sorted(found):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return "".join(rf"\x{{{a:X}}}" if a == b else rf"\x{{{a:X}}}-\x{{{b:X}}}" for a, b in out)


print("""#pragma once

#include <array>
#include <string_view>

namespace tunefleet::data {

/// Characters of a general category that PCRE2's Unicode tables (14) do not have and Oniguruma's (16) do,
/// as they stand in a character class. Printed by tests/oracle/unicode_additions.py.
struct UnicodeAdditions {
  std::string_view category;
  std::string_view ranges;
};

// clang-format off
inline constexpr auto kUnicodeAdditions = std::to_array<UnicodeAdditions>({""")
for category in CATEGORIES:
    added = by_oniguruma(category) - by_pcre2(category)
    if added:
        print(f'    {{"{category}", R"({runs(added)})"}},')
print("""});
// clang-format on

}  // namespace tunefleet::data""")
