#include "worker/data/utf8.h"

#include <gtest/gtest.h>

#include "worker/data/byte_alphabet.h"

namespace tunefleet::data {
namespace {

TEST(Utf8, EveryCharacterRoundTripsAndIsValid) {
  for (char32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 37) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_code_point(c, text);
    ASSERT_EQ(code_point_at(text, 0).value, c);
    ASSERT_EQ(code_point_at(text, 0).bytes, text.size());
    ASSERT_FALSE(first_invalid_utf8(text));
    ASSERT_EQ(incomplete_utf8_suffix(text), 0u);
    for (size_t length = 1; length < text.size(); ++length) {
      ASSERT_EQ(incomplete_utf8_suffix("ab" + text.substr(0, length)), length);
      ASSERT_EQ(first_invalid_utf8("ab" + text.substr(0, length)), 2u);
    }
  }
}

struct InvalidText {
  std::string text;
  size_t offset;
  std::string replaced;
};

class InvalidUtf8Test : public testing::TestWithParam<InvalidText> {};

TEST_P(InvalidUtf8Test, IsFoundAndReplaced) {
  const auto& [text, offset, replaced] = GetParam();
  EXPECT_EQ(first_invalid_utf8(text), offset);
  EXPECT_EQ(replace_invalid_utf8(text), replaced);
}

INSTANTIATE_TEST_SUITE_P(Kinds, InvalidUtf8Test,
                         testing::Values(InvalidText{"\x80", 0, "\uFFFD"},
                                         InvalidText{"12345678\xFF", 8, "12345678\uFFFD"},
                                         InvalidText{"\xC0\xAF", 0, "\uFFFD\uFFFD"},
                                         InvalidText{"\xE0\x80\x80", 0, "\uFFFD\uFFFD\uFFFD"},
                                         InvalidText{"\xED\xA0\x80", 0, "\uFFFD\uFFFD\uFFFD"},
                                         InvalidText{"\xF4\x90\x80\x80", 0,
                                                     "\uFFFD\uFFFD\uFFFD\uFFFD"},
                                         InvalidText{"\xE2\x82", 0, "\uFFFD"},
                                         InvalidText{"\xF0\x9F\x98(", 0, "\uFFFD("},
                                         InvalidText{"a\xE2\x82\xAC\xC3", 4, "a\u20AC\uFFFD"}));

TEST(ByteAlphabet, EveryByteIsSpelledAndReadBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  const auto spelling = spell_bytes(bytes);
  EXPECT_FALSE(first_invalid_utf8(spelling));
  EXPECT_EQ(unspell_bytes(spelling), bytes);
  EXPECT_EQ(spell_bytes(" a\n"), "ĠaĊ");
  EXPECT_EQ(unspell_bytes("日"), std::nullopt);
}

}  // namespace
}  // namespace tunefleet::data
