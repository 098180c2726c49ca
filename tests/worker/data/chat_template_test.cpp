#include "worker/data/chat_template.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "worker/data/template_text.h"

namespace tunefleet::data {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string joined(const std::vector<Segment>& segments) {
  std::string text;
  for (const auto& segment : segments) text += segment.text;
  return text;
}

std::vector<Message> messages_of(const json& list) {
  std::vector<Message> messages;
  for (const auto& one : list) {
    messages.push_back({one["role"].get<std::string>(), one["content"].get<std::string>(), {}});
  }
  return messages;
}

ChatTemplate chosen(const std::optional<std::string>& name, const TemplateSource& source) {
  auto chat_template = ChatTemplate::choose(name, source);
  if (!chat_template) throw std::runtime_error(chat_template.error().message);
  return *chat_template;
}

/// Texts as Jinja renders them, see tests/oracle/chat_template_cases.py.
class RenderingTest : public testing::TestWithParam<std::string> {};

TEST_P(RenderingTest, IsWhatTheModelsOwnTemplateGives) {
  std::ifstream file("tests/worker/data/fixtures/chat_templates.json");
  for (const auto& entry : json::parse(file)) {
    if (entry["name"] != GetParam()) continue;
    const auto chat_template =
        chosen(std::nullopt, {entry["chat_template"].get<std::string>(), "", "a model"});
    for (const auto& one : entry["rendered"]) {
      const auto segments = chat_template.render(messages_of(one["messages"]),
                                                 one["add_generation_prompt"].get<bool>());
      ASSERT_TRUE(segments) << segments.error().message;
      EXPECT_EQ(joined(*segments), one["text"].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RenderingTest,
                         testing::Values("smollm2", "qwen2", "bare_chatml", "qwen2.5", "llama3",
                                         "llama3.1"));

const std::vector<Message> kTwoTurns{{"user", "q", {}},
                                     {"assistant", "a", {}},
                                     {"user", "r", {}},
                                     {"assistant", "b", false},
                                     {"assistant", "c", true}};

class TrainedTextTest : public testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(TrainedTextTest, IsTheAnswersAndTheirEnds) {
  const auto chat_template = chosen(GetParam().first, {"", "<eos>", "a model"});
  std::string trained;
  const auto segments = *chat_template.render(kTwoTurns, false);
  for (const auto& segment : segments) {
    if (segment.train) trained += segment.text;
  }
  EXPECT_EQ(trained, GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(Templates, TrainedTextTest,
                         testing::Values(std::pair("chatml", "a<|im_end|>c<|im_end|>"),
                                         std::pair("qwen", "a<|im_end|>c<|im_end|>"),
                                         std::pair("llama3", "a<|eot_id|>c<|eot_id|>"),
                                         std::pair("plain", "a<eos>c<eos>")));

TEST(ChatTemplate, WhatPeopleWroteHasNoSpecialTokens) {
  for (const auto* name : {"chatml", "qwen", "llama3", "plain"}) {
    const auto chat_template = chosen(name, {"", "<eos>", "a model"});
    const auto segments = *chat_template.render(kTwoTurns, true);
    for (const auto& segment : segments) {
      const bool written = segment.text.size() == 1 && segment.text != "\n";
      EXPECT_EQ(segment.special, !written) << name << ": " << segment.text;
    }
  }
}

TEST(ChatTemplate, PlainIsTheTextsAlone) {
  const auto chat_template = chosen("plain", {"", "<eos>", "a model"});
  EXPECT_EQ(joined(*chat_template.render(kTwoTurns, true)), "qa<eos>rb<eos>c<eos>");
  EXPECT_TRUE(chat_template.needs_begin_of_text());
}

TEST(ChatTemplate, QwenWritesToolCallsAndNamesItsMaker) {
  const auto chat_template = chosen("qwen", {"", "", "a model"});
  const std::vector<Message> messages{{"user", "q", {}}, {"tool_call", "{}", {}}};
  EXPECT_EQ(joined(*chat_template.render(messages, false)),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
            "<tool_call>\n{}\n</tool_call><|im_end|>\n");
}

TEST(ChatTemplate, RolesThatATemplateLacksAreRefused) {
  const auto segments = chosen("llama3", {}).render(std::vector<Message>{{"tool", "x", {}}}, false);
  ASSERT_FALSE(segments);
  EXPECT_EQ(segments.error().message, "the template llama3 has no turns of role tool");
}

struct Unknown {
  std::optional<std::string> name;
  TemplateSource source;
  const char* reason;
};

class UnknownTemplateTest : public testing::TestWithParam<Unknown> {};

TEST_P(UnknownTemplateTest, IsRefusedWithTheWayOut) {
  const auto chat_template = ChatTemplate::choose(GetParam().name, GetParam().source);
  ASSERT_FALSE(chat_template);
  EXPECT_EQ(chat_template.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(chat_template.error().message, HasSubstr(GetParam().reason));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, UnknownTemplateTest,
    testing::Values(Unknown{"mistral", {}, "unknown template: mistral; known: chatml"},
                    Unknown{{}, {"", "", "m"}, "has no chat template; choose one with --template"},
                    Unknown{{}, {"[INST]", "", "m"}, "not a known one; choose one with --template"},
                    Unknown{{}, {"<|im_start|><|im_end|><think>", "", "m"}, "not a known one"},
                    Unknown{"plain", {"", "", "m"}, "needs an eos_token"}));

TEST(TemplateText, DefaultSystemIsFoundWhereverItIsQuoted) {
  EXPECT_EQ(chatml_default_system(R"({{ '<|im_start|>system\nIt\'s "me"<|im_end|>\n' }})"),
            std::nullopt);  // a quote within: not one piece for us
  EXPECT_EQ(chatml_default_system(R"({{ "<|im_start|>system\nIt's me<|im_end|>\n" }})"), "It's me");
  EXPECT_EQ(chatml_default_system(R"('<|im_start|>system\n' + x + '<|im_end|>')"), std::nullopt);
  EXPECT_EQ(chatml_default_system(""), std::nullopt);
}

TEST(TemplateText, TrimsAsPythonDoes) {
  EXPECT_EQ(trim_white_space(" \t\u00a0a b\u2003\x1f\n"), "a b");
  EXPECT_EQ(trim_white_space(" \n"), "");
  EXPECT_EQ(trim_white_space("\u200ba"), "\u200ba");
}

}  // namespace
}  // namespace tunefleet::data
