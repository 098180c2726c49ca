#include "worker/data/tokenizer.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace tunefleet::data {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kFixtures = "tests/worker/data/fixtures/";

json read_json(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

Tokenizer load(const std::string& family) {
  auto tokenizer = Tokenizer::load(kFixtures + family + ".json");
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return *tokenizer;
}

/// Ids and texts as the `tokenizers` package gave them, see tests/oracle/tokenizer_cases.py.
class TokenizerFamilyTest : public testing::TestWithParam<std::string> {
 protected:
  Tokenizer tokenizer_ = load(GetParam());
  json cases_ = read_json(kFixtures + GetParam() + ".cases.json");
};

TEST_P(TokenizerFamilyTest, GivesTheSameIds) {
  for (const auto& one : cases_) {
    const auto text = one["text"].get<std::string>();
    const auto plain = tokenizer_.encode(text);
    const auto with_special = tokenizer_.encode(text, true);
    ASSERT_TRUE(plain && with_special) << plain.error().message;
    EXPECT_EQ(*plain, one["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(*with_special, one["with_special"].get<std::vector<int32_t>>()) << text;
  }
}

TEST_P(TokenizerFamilyTest, DecodesToTheSameText) {
  for (const auto& one : cases_) {
    const auto ids = one["with_special"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer_.decode(ids), one["decoded"].get<std::string>());
  }
}

TEST_P(TokenizerFamilyTest, StreamedPiecesJoinedAreTheDecodedText) {
  for (const auto& one : cases_) {
    for (const bool skip : {false, true}) {
      StreamDecoder stream(tokenizer_, skip);
      std::string text;
      const auto ids = one["ids"].get<std::vector<int32_t>>();
      for (const int32_t id : ids) text += stream.push(id);
      text += stream.finish();
      EXPECT_EQ(text, tokenizer_.decode(ids, skip));
    }
  }
}

TEST_P(TokenizerFamilyTest, PartsJoinedGiveTheIdsOfTheWhole) {
  for (const auto& one : cases_) {
    const auto text = one["text"].get<std::string>();
    const std::vector<TextPart> parts{{std::string_view(text).substr(0, text.size() / 2)},
                                      {std::string_view(text).substr(text.size() / 2)}};
    EXPECT_EQ(*tokenizer_.encode_parts(parts), *tokenizer_.encode(text));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerFamilyTest,
                         testing::Values("gpt2", "smollm", "llama3", "qwen2", "o200k", "stripping",
                                         "behaviours"),
                         [](const auto& family) { return family.param; });

class LosslessTest : public testing::TestWithParam<std::string> {};

TEST_P(LosslessTest, DecodingAnEncodedTextGivesItBack) {
  const auto tokenizer = load(GetParam());
  for (const auto& one : read_json(kFixtures + GetParam() + ".cases.json")) {
    const auto text = one["text"].get<std::string>();
    EXPECT_EQ(tokenizer.decode(*tokenizer.encode(text), false), text);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LosslessTest,
                         testing::Values("gpt2", "smollm", "llama3", "o200k"));

TEST(Tokenizer, SpecialTokensInAPersonsTextArePlainText) {
  const auto tokenizer = load("smollm");
  const std::vector<TextPart> parts{
      {"<|im_start|>", true}, {"a<|im_end|>b", false}, {"<|im_end|>", true}};
  const auto ids = *tokenizer.encode_parts(parts);
  EXPECT_EQ(ids.front(), tokenizer.token_id("<|im_start|>"));
  EXPECT_EQ(ids.back(), tokenizer.token_id("<|im_end|>"));
  EXPECT_EQ(std::ranges::count(ids, *tokenizer.token_id("<|im_end|>")), 1);
  EXPECT_EQ(tokenizer.decode(ids), "a<|im_end|>b");
}

TEST(Tokenizer, InvalidUtf8NamesTheByte) {
  const auto ids = load("gpt2").encode("abc\xC3(");
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ids.error().message, "text is not valid UTF-8: at byte 3 of 5");
}

TEST(Tokenizer, HoldsBackBytesOfAnIncompleteCharacter) {
  const auto tokenizer = load("gpt2");
  StreamDecoder stream(tokenizer);
  const auto ids = *tokenizer.encode("\xF0\x9F\xAA\xBF");
  ASSERT_GT(ids.size(), 1u);
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(stream.push(ids[i]), "");
  EXPECT_EQ(stream.push(ids.back()), "\xF0\x9F\xAA\xBF");
  EXPECT_EQ(stream.push(ids.front()), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(Tokenizer, NamesAndSizes) {
  const auto tokenizer = load("llama3");
  const auto bos = tokenizer.token_id("<|begin_of_text|>");
  ASSERT_TRUE(bos);
  EXPECT_TRUE(tokenizer.is_special(*bos));
  EXPECT_EQ(tokenizer.prefix_ids(), std::vector<int32_t>{*bos});
  EXPECT_EQ(tokenizer.token_bytes(*tokenizer.token_id("Ġt")), " t");
  EXPECT_FALSE(tokenizer.token_id("no such token"));
  EXPECT_EQ(tokenizer.token_bytes(1 << 30), "");
  EXPECT_EQ(tokenizer.vocab_size(), 425);  // 420 and five added
}

struct BadFile {
  const char* path;   ///< JSON pointer of what is replaced.
  const char* value;  ///< JSON.
  const char* reason;
};

class BadTokenizerFileTest : public testing::TestWithParam<BadFile> {};

TEST_P(BadTokenizerFileTest, IsRefusedWithItsReason) {
  auto config = read_json(kFixtures + "gpt2.json");
  config[json::json_pointer(GetParam().path)] = json::parse(GetParam().value);
  const auto tokenizer = Tokenizer::parse(config.dump(), "a.json");
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("a.json"));
  EXPECT_THAT(tokenizer.error().message, HasSubstr(GetParam().reason));
}

INSTANTIATE_TEST_SUITE_P(
    Parts, BadTokenizerFileTest,
    testing::Values(
        BadFile{"/model/type", R"("Unigram")", "not BPE: Unigram"},
        BadFile{"/model/byte_fallback", "true", "byte_fallback"},
        BadFile{"/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix"},
        BadFile{"/model/dropout", "0.1", "dropout"},
        BadFile{"/model/unk_token", R"("nope")", "unk_token is not in the vocabulary"},
        BadFile{"/model/merges", R"(["zz qq"])", "merge of tokens that are not in the vocabulary"},
        BadFile{"/model/merges", R"([["a"]])", "malformed tokenizer file"},
        BadFile{"/model/vocab", R"({"a":99999999})", "token id out of range"},
        BadFile{"/model/vocab", R"({"a":1,"b":1})", "two tokens with one id"},
        BadFile{"/added_tokens/0/id", "-4", "added token id out of range"},
        BadFile{"/normalizer", R"({"type":"Precompiled"})", "unknown normalizer: Precompiled"},
        BadFile{"/pre_tokenizer", "null", "only byte-level tokenizers"},
        BadFile{"/pre_tokenizer", R"({"type":"Metaspace"})", "unknown pre_tokenizer: Metaspace"},
        BadFile{"/pre_tokenizer",
                R"({"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"})",
                "malformed regular expression"},
        BadFile{"/pre_tokenizer",
                R"({"type":"Split","pattern":{"Regex":"[a[b]]"},"behavior":"Isolated"})",
                "a class inside a class"},
        BadFile{"/pre_tokenizer", R"({"type":"Split","pattern":{"String":"a"},"behavior":"Odd"})",
                "unknown behavior"},
        BadFile{"/post_processor", R"({"type":"BertProcessing"})", "unknown post_processor"},
        BadFile{"/decoder", R"({"type":"WordPiece"})", "only byte-level tokenizers"}));

TEST(Tokenizer, MissingAndTruncatedFilesAreTold) {
  EXPECT_EQ(Tokenizer::load("no/such/tokenizer.json").error().code, ErrorCode::kNotFound);
  const auto text = read_json(kFixtures + "gpt2.json").dump();
  for (size_t length = 0; length < text.size(); length += 97) {
    EXPECT_FALSE(Tokenizer::parse(text.substr(0, length), "a.json"));
  }
}

}  // namespace
}  // namespace tunefleet::data
