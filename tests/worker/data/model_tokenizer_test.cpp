// The tokenizer and the chat template of a real model, where tests/run has fetched one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "worker/data/chat_template.h"
#include "worker/data/tokenizer.h"

namespace tunefleet::data {
namespace {

class ModelTokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* named = std::getenv("TUNEFLEET_TEST_MODEL");
    directory_ = named ? named : ".data/models/SmolLM2-135M-Instruct";
    if (!std::filesystem::exists(directory_ / "tokenizer.json")) {
      GTEST_SKIP() << "no model to test with: " << directory_
                   << "; run tests/run, or name one in TUNEFLEET_TEST_MODEL";
    }
  }

  std::filesystem::path directory_;
};

TEST_F(ModelTokenizerTest, KnownTextHasKnownIds) {
  const auto tokenizer = Tokenizer::load(directory_);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->token_id("<|im_end|>"), 2);
  EXPECT_EQ(*tokenizer->encode("<|im_start|>user\nHello, world! 2024<|im_end|>\n"),
            (std::vector<int32_t>{1, 4093, 198, 19556, 28, 905, 17, 216, 34, 32, 34, 36, 2, 198}));
}

TEST_F(ModelTokenizerTest, ChatTemplateIsRecognised) {
  const auto source = TemplateSource::read(directory_);
  ASSERT_TRUE(source) << source.error().message;
  const auto chat_template = ChatTemplate::choose(std::nullopt, *source);
  ASSERT_TRUE(chat_template) << chat_template.error().message;
  EXPECT_EQ(chat_template->name(), "chatml");
  EXPECT_EQ(chat_template->default_system(),
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
}

}  // namespace
}  // namespace tunefleet::data
