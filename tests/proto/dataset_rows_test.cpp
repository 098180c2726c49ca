#include "proto/dataset_rows.h"

#include <gmock/gmock.h>

namespace tunefleet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Message said(std::string role, std::string content, std::optional<bool> loss = std::nullopt) {
  return {std::move(role), std::move(content), loss};
}

struct GoodRow {
  const char* json;
  DatasetForm form;
  std::vector<Message> messages;
};

class GoodRowTest : public testing::TestWithParam<GoodRow> {};

TEST_P(GoodRowTest, IsReadAsAConversation) {
  const auto row = parse_dataset_row(GetParam().json);
  ASSERT_TRUE(row) << row.error().message;
  EXPECT_EQ(row->form, GetParam().form);
  EXPECT_EQ(row->messages, GetParam().messages);
  EXPECT_TRUE(row->input_ids.empty());
}

constexpr auto kMessages = DatasetForm::kMessages;
constexpr auto kAlpaca = DatasetForm::kAlpaca;
constexpr auto kQueryResponse = DatasetForm::kQueryResponse;

INSTANTIATE_TEST_SUITE_P(
    Messages, GoodRowTest,
    testing::Values(
        GoodRow{
            R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})",
            kMessages,
            {said("user", "q"), said("assistant", "a")}},
        GoodRow{R"({"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})",
                kMessages,
                {said("user", "q"), said("assistant", "a")}},
        GoodRow{
            R"({"system":"s","conversation":[{"human":"q","assistant":"a"},{"human":"r","assistant":"b"}]})",
            kMessages,
            {said("system", "s"), said("user", "q"), said("assistant", "a"), said("user", "r"),
             said("assistant", "b")}},
        GoodRow{
            R"({"Messages":[{"role":"assistant","content":"a","loss":false},{"role":"bot","content":"b","weight":1}]})",
            kMessages,
            {said("assistant", "a", false), said("assistant", "b", true)}},
        GoodRow{
            R"({"messages":[{"role":"observation","content":"t"},{"role":"function_call","content":"{}"}]})",
            kMessages,
            {said("tool", "t"), said("tool_call", "{}")}},
        GoodRow{
            R"({"messages":[{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})",
            kMessages,
            {said("assistant", "ab")}}));

INSTANTIATE_TEST_SUITE_P(
    Columns, GoodRowTest,
    testing::Values(
        GoodRow{R"({"query":"q","response":"a"})",
                kQueryResponse,
                {said("user", "q"), said("assistant", "a")}},
        GoodRow{R"({"Question":"q","ANSWER":"a","id":7})",
                kQueryResponse,
                {said("user", "q"), said("assistant", "a")}},
        GoodRow{
            R"({"prompt":"q","completion":["a","b"],"system_prompt":"s","history":[["h","i"]]})",
            kQueryResponse,
            {said("system", "s"), said("user", "h"), said("assistant", "i"), said("user", "q"),
             said("assistant", "a")}},
        GoodRow{R"({"query":"q","prompt":"p","response":"a","solution":"b"})",
                kQueryResponse,
                {said("user", "q"), said("assistant", "a")}},
        GoodRow{R"({"text":"only this"})", kQueryResponse, {said("assistant", "only this")}},
        GoodRow{R"({"instruction":"do","input":"this","output":"done"})",
                kAlpaca,
                {said("user", "do\nthis"), said("assistant", "done")}},
        GoodRow{R"({"instruction":"do","input":"","output":"done"})",
                kAlpaca,
                {said("user", "do"), said("assistant", "done")}},
        GoodRow{R"({"instruction":"do","input":null,"output":"done"})",
                kQueryResponse,
                {said("user", "do"), said("assistant", "done")}}));

struct BadRow {
  const char* json;
  const char* reason;
};

class BadRowTest : public testing::TestWithParam<BadRow> {};

TEST_P(BadRowTest, IsRefusedWithItsReason) {
  const auto row = parse_dataset_row(GetParam().json);
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(row.error().message, HasSubstr(GetParam().reason));
}

INSTANTIATE_TEST_SUITE_P(
    Json, BadRowTest,
    testing::Values(BadRow{"", "not JSON"}, BadRow{"{", "not JSON"},
                    BadRow{"[1]", "must be a JSON object"}, BadRow{"3", "must be a JSON object"},
                    BadRow{"{\"text\":\"\xff\"}", "not JSON"},
                    BadRow{R"({"text":"\ud800"})", "not JSON"},
                    BadRow{R"({"text":"a"} x)", "not JSON: column 14"},
                    BadRow{R"({"text":"a","TEXT":"b"})", "two columns of one name: text"}));

INSTANTIATE_TEST_SUITE_P(
    Forms, BadRowTest,
    testing::Values(
        BadRow{"{}", "no column to learn from"},
        BadRow{R"({"query":"q"})", "no column to learn from"},
        BadRow{R"({"question":"q","problem":"p","response":"a"})",
               "two columns may hold the query: question, problem"},
        BadRow{R"({"query":"q","answer":"a","solution":"b"})", "two columns may hold the response"},
        BadRow{R"({"query":"q","response":3})", "response must be a string"},
        BadRow{R"({"query":3,"response":"a"})", "query must be a string"},
        BadRow{R"({"query":"q","response":"a","history":[["x"]]})", "history must be"},
        BadRow{R"({"query":"q","response":"a","images":["x.png"]})", "only text is trained on"},
        BadRow{R"({"messages":[]})", "messages must be a list"},
        BadRow{R"({"messages":"hi"})", "messages must be a list"},
        BadRow{R"({"messages":[4]})", "messages[0] is not an object"},
        BadRow{R"({"messages":[{"content":"a"}]})", "messages[0] has no role"},
        BadRow{R"({"messages":[{"role":"assistant"}]})", "messages[0] has no content"},
        BadRow{R"({"messages":[{"role":"wizard","content":"a"}]})", "unknown role 'wizard'"},
        BadRow{R"({"messages":[{"role":"user","content":"a"}]})", "no assistant turn"},
        BadRow{R"({"messages":[{"role":"assistant","content":"a","loss":false}]})",
               "no assistant turn"},
        BadRow{R"({"messages":[{"role":"user","content":"a","loss":true}]})",
               "loss is for assistant turns"},
        BadRow{R"({"messages":[{"role":"assistant","content":"a","loss":"yes"}]})", "loss must be"},
        BadRow{R"({"messages":[{"role":"assistant","content":[{"type":"image_url"}]}]})",
               "only text parts"},
        BadRow{R"({"messages":[{"role":"assistant","content":"a","tool_calls":[{}]}]})",
               "tool_calls"},
        BadRow{R"({"messages":[{"human":"a"}]})",
               "neither role and content nor human and assistant"},
        BadRow{
            R"({"system":"s","messages":[{"role":"system","content":"t"},{"role":"assistant","content":"a"}]})",
            "two system prompts"}));

INSTANTIATE_TEST_SUITE_P(
    Ids, BadRowTest,
    testing::Values(
        BadRow{R"({"input_ids":[]})", "must be a list of token ids"},
        BadRow{R"({"input_ids":[1,-1]})", "not a token id in input_ids: -1"},
        BadRow{R"({"input_ids":[1,2.5]})", "not a token id in input_ids: 2.5"},
        BadRow{R"({"input_ids":[1,4294967296]})", "not a token id in input_ids: 4294967296"},
        BadRow{R"({"input_ids":[1,18446744073709551615]})", "not a token id in input_ids"},
        BadRow{R"({"input_ids":[1,2],"labels":[1]})", "differ in length: 1, 2"},
        BadRow{R"({"input_ids":[1,2],"labels":[1,-7]})", "not a token id in labels: -7"},
        BadRow{R"({"input_ids":[1,2],"labels":[1,-100]})", "no label to learn"},
        BadRow{R"({"input_ids":[1]})", "no label to learn"}));

TEST(DatasetRow, PretokenisedRowKeepsIdsAndLabels) {
  const auto row = parse_dataset_row(R"({"input_ids":[5,6,7],"labels":[-100,6,7]})");
  ASSERT_TRUE(row);
  EXPECT_EQ(row->form, DatasetForm::kPretokenised);
  EXPECT_THAT(row->input_ids, ElementsAre(5, 6, 7));
  EXPECT_THAT(row->labels, ElementsAre(-100, 6, 7));
}

TEST(DatasetRow, PretokenisedRowWithoutLabelsLearnsEverything) {
  const auto row = parse_dataset_row(R"({"input_ids":[5,6]})");
  ASSERT_TRUE(row);
  EXPECT_EQ(row->labels, row->input_ids);
}

}  // namespace
}  // namespace tunefleet
