#include "coordinator/api/chat_request.h"

#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

json with(const json& more = json::object()) {
  json body{{"model", "m"}, {"messages", {{{"role", "user"}, {"content", "hello"}}}}};
  body.update(more);
  return body;
}

TEST(ChatRequestTest, ReadsOpenAisFieldsWithOpenAisDefaults) {
  const auto plain = read_chat_request(with());
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->model, "m");
  EXPECT_EQ(plain->order.temperature, 1.0);
  EXPECT_EQ(plain->order.top_p, 1.0);
  EXPECT_EQ(plain->order.max_tokens, kDefaultAnswerTokens);
  EXPECT_FALSE(plain->stream);
  const auto full = read_chat_request(with({{"temperature", 0},
                                            {"top_p", 0.5},
                                            {"top_k", 3},
                                            {"max_completion_tokens", 7},
                                            {"seed", -1},
                                            {"stop", {"a", "b"}},
                                            {"stream", true},
                                            {"stream_options", {{"include_usage", true}}},
                                            {"n", 1}}));
  ASSERT_TRUE(full);
  EXPECT_EQ(full->order.temperature, 0.0);
  EXPECT_EQ(full->order.top_p, 0.5);
  EXPECT_EQ(full->order.top_k, 3);
  EXPECT_EQ(full->order.max_tokens, 7);
  EXPECT_EQ(full->order.seed, UINT64_MAX);
  EXPECT_EQ(full->order.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(full->stream && full->include_usage);
  EXPECT_EQ(read_chat_request(with({{"stop", "x"}}))->order.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(read_chat_request(with({{"max_tokens", 5}}))->order.max_tokens, 5);
}

TEST(ChatRequestTest, WithoutASeedEachRequestDrawsItsOwn) {
  const auto first = read_chat_request(with());
  const auto second = read_chat_request(with());
  EXPECT_NE(first->order.seed, second->order.seed);
}

TEST(ChatRequestTest, ReadsTextPartsAndTheDevelopersRole) {
  const auto read = read_chat_request(with(
      {{"messages",
        {{{"role", "developer"}, {"content", "be brief"}},
         {{"role", "assistant"}, {"content", "yes"}, {"refusal", nullptr}},
         {{"role", "user"},
          {"name", "ann"},
          {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}}}}}}));
  ASSERT_TRUE(read);
  ASSERT_EQ(read->order.messages.size(), 3);
  EXPECT_EQ(read->order.messages[0].role, "system");
  EXPECT_EQ(read->order.messages[2].content, "ab");
}

TEST(ChatRequestTest, TakesWhatChangesNoAnswer) {
  EXPECT_TRUE(read_chat_request(with({{"user", "ann"},
                                      {"metadata", {{"a", "b"}}},
                                      {"frequency_penalty", 0.0},
                                      {"presence_penalty", 0},
                                      {"logprobs", false},
                                      {"tools", json::array()},
                                      {"response_format", {{"type", "text"}}},
                                      {"temperature", nullptr},
                                      {"whatever", nullptr}})));
}

struct BadField {
  const char* name;
  json more;
  const char* param;
  const char* says;
};

class BadChatRequestTest : public testing::TestWithParam<BadField> {};

TEST_P(BadChatRequestTest, IsToldByItsField) {
  const auto read = read_chat_request(with(GetParam().more));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().status, 400);
  EXPECT_EQ(read.error().param, GetParam().param);
  EXPECT_NE(read.error().message.find(GetParam().says), std::string::npos) << read.error().message;
}

json message(const json& value) { return {{"messages", json::array({value})}}; }

INSTANTIATE_TEST_SUITE_P(
    Fields, BadChatRequestTest,
    testing::Values(
        BadField{"Misspelt", {{"temprature", 1}}, "temprature", "did you mean temperature?"},
        BadField{"Unknown", {{"xyzzy", 1}}, "xyzzy", "unknown field"},
        BadField{"Tools", {{"tools", {{{"type", "function"}}}}}, "tools", "not supported"},
        BadField{"JsonMode",
                 {{"response_format", {{"type", "json_object"}}}},
                 "response_format",
                 "not supported"},
        BadField{"SeveralAnswers", {{"n", 2}}, "n", "one answer"},
        BadField{"Hot", {{"temperature", 2.5}}, "temperature", "from 0 to 2"},
        BadField{"TemperatureText", {{"temperature", "hot"}}, "temperature", "number"},
        BadField{"NoTokens", {{"max_tokens", 0}}, "max_tokens", "from 1"},
        BadField{"HugeTokens", {{"max_tokens", UINT64_MAX}}, "max_tokens", "from 1"},
        BadField{"TwoLimits",
                 {{"max_tokens", 3}, {"max_completion_tokens", 4}},
                 "max_tokens",
                 "differs"},
        BadField{"EmptyStop", {{"stop", ""}}, "stop", "1 to 256"},
        BadField{"ManyStops", {{"stop", {"a", "b", "c", "d", "e"}}}, "stop", "more than 4"},
        BadField{"SeedText", {{"seed", "x"}}, "seed", "whole number"},
        BadField{"StreamText", {{"stream", "yes"}}, "stream", "true or false"},
        BadField{"OptionsAlone",
                 {{"stream_options", {{"include_usage", true}}}},
                 "stream_options",
                 "stream: true"},
        BadField{"NoModel", {{"model", nullptr}}, "model", "required"},
        BadField{"NoMessages", {{"messages", json::array()}}, "messages", "required"},
        BadField{"MessageText", message("hello"), "messages[0]", "object"},
        BadField{"Role", message({{"role", "tool"}, {"content", "x"}}), "messages[0].role",
                 "tools"},
        BadField{"Image", message({{"role", "user"}, {"content", {{{"type", "image_url"}}}}}),
                 "messages[0].content", "must be text"},
        BadField{"NoContent", message({{"role", "user"}}), "messages[0].content", "must be text"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ChatRequestTest, TellsAllProblemsAtOnce) {
  const auto read = read_chat_request(json{{"temperature", -1}});
  ASSERT_FALSE(read);
  for (const char* field : {"model:", "messages:", "temperature:"}) {
    EXPECT_NE(read.error().message.find(field), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace tunefleet::coordinator
