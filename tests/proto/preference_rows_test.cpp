#include <gmock/gmock.h>

#include "proto/dataset_rows.h"

namespace tunefleet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Message said(std::string role, std::string content, std::optional<bool> loss = std::nullopt) {
  return {std::move(role), std::move(content), loss};
}

struct Preference {
  const char* json;
  DatasetForm form;
  std::vector<Message> chosen;
  std::vector<Message> rejected;
};

class PreferenceRowTest : public testing::TestWithParam<Preference> {};

TEST_P(PreferenceRowTest, HasBothConversationsAndLearnsTheLastAnswer) {
  const auto row = parse_dataset_row(GetParam().json);
  ASSERT_TRUE(row) << row.error().message;
  EXPECT_TRUE(row->is_preference());
  EXPECT_EQ(row->form, GetParam().form);
  EXPECT_EQ(row->messages, GetParam().chosen);
  EXPECT_EQ(row->rejected_messages, GetParam().rejected);
}

constexpr auto kPreferredOutput = DatasetForm::kPreferredOutput;
constexpr auto kMessages = DatasetForm::kMessages;

INSTANTIATE_TEST_SUITE_P(
    OpenAi, PreferenceRowTest,
    testing::Values(
        Preference{
            R"({"input":{"messages":[{"role":"user","content":"q"}],"tools":[],"parallel_tool_calls":true},
                "preferred_output":[{"role":"assistant","content":"good"}],
                "non_preferred_output":[{"role":"assistant","content":"bad"}]})",
            kPreferredOutput,
            {said("user", "q"), said("assistant", "good")},
            {said("user", "q"), said("assistant", "bad")}},
        Preference{
            R"({"input":{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},
                                     {"role":"assistant","content":"a"},{"role":"user","content":"r"}]},
                "preferred_output":[{"role":"tool_call","content":"{}"},{"role":"tool","content":"7"},
                                    {"role":"assistant","content":"good"}],
                "non_preferred_output":[{"role":"assistant","content":"bad"}]})",
            kPreferredOutput,
            {said("system", "s"), said("user", "q"), said("assistant", "a", false),
             said("user", "r"), said("tool_call", "{}"), said("tool", "7"),
             said("assistant", "good")},
            {said("system", "s"), said("user", "q"), said("assistant", "a", false),
             said("user", "r"), said("assistant", "bad")}}));

INSTANTIATE_TEST_SUITE_P(
    MsSwift, PreferenceRowTest,
    testing::Values(
        Preference{
            R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},
                            {"role":"user","content":"r"},{"role":"assistant","content":"good"}],
                "system":"s","rejected_response":"bad"})",
            kMessages,
            {said("system", "s"), said("user", "q"), said("assistant", "a", false),
             said("user", "r"), said("assistant", "good")},
            {said("system", "s"), said("user", "q"), said("assistant", "a", false),
             said("user", "r"), said("assistant", "bad")}},
        Preference{
            R"({"messages":[{"role":"user","content":"q"},{"role":"tool_call","content":"{}"},
                            {"role":"tool","content":"7"},{"role":"assistant","content":"good"}],
                "rejected_response":[{"role":"assistant","content":"bad"}]})",
            kMessages,
            {said("user", "q"), said("tool_call", "{}"), said("tool", "7"),
             said("assistant", "good")},
            {said("user", "q"), said("assistant", "bad")}},
        Preference{
            R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"good"}],
                "system":"s",
                "rejected_messages":[{"role":"user","content":"p"},{"role":"assistant","content":"a","loss":true},
                                     {"role":"user","content":"q"},{"role":"assistant","content":"bad"}]})",
            kMessages,
            {said("system", "s"), said("user", "q"), said("assistant", "good")},
            {said("system", "s"), said("user", "p"), said("assistant", "a", true),
             said("user", "q"), said("assistant", "bad")}},
        Preference{
            R"({"messages":[{"role":"user","content":"q"},{"role":"tool_call","content":"{}"},{"role":"tool","content":"7"},
                            {"role":"assistant","content":"good"},{"role":"assistant","content":"better"}],
                "rejected_response":"bad"})",
            kMessages,
            {said("user", "q"), said("tool_call", "{}"), said("tool", "7"),
             said("assistant", "good"), said("assistant", "better")},
            {said("user", "q"), said("tool_call", "{}"), said("tool", "7"),
             said("assistant", "bad")}},
        Preference{R"({"query":"q","response":"good","rejected_response":"bad"})",
                   DatasetForm::kQueryResponse,
                   {said("user", "q"), said("assistant", "good")},
                   {said("user", "q"), said("assistant", "bad")}}));

TEST(PreferenceRow, TokenIdsComeAsTheyAre) {
  const auto row = parse_dataset_row(
      R"({"input_ids":[1,2,3],"labels":[-100,-100,3],"rejected_input_ids":[1,4]})");
  ASSERT_TRUE(row) << row.error().message;
  EXPECT_TRUE(row->is_preference());
  EXPECT_THAT(row->labels, ElementsAre(-100, -100, 3));
  EXPECT_THAT(row->rejected_input_ids, ElementsAre(1, 4));
  EXPECT_THAT(row->rejected_labels, ElementsAre(1, 4));
}

TEST(PreferenceRow, NothingRejectedIsNoPreference) {
  const auto row = parse_dataset_row(R"({"query":"q","response":"a","rejected_response":null})");
  ASSERT_TRUE(row) << row.error().message;
  EXPECT_FALSE(row->is_preference());
}

struct BadPreference {
  const char* json;
  const char* reason;
};

class BadPreferenceTest : public testing::TestWithParam<BadPreference> {};

TEST_P(BadPreferenceTest, IsRefusedWithItsReason) {
  const auto row = parse_dataset_row(GetParam().json);
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(row.error().message, HasSubstr(GetParam().reason));
}

#define PROMPT R"("input":{"messages":[{"role":"user","content":"q"}]})"
#define GOOD R"("preferred_output":[{"role":"assistant","content":"good"}])"

INSTANTIATE_TEST_SUITE_P(
    OpenAi, BadPreferenceTest,
    testing::Values(
        BadPreference{"{" PROMPT "," GOOD "}", "a preference has no non_preferred_output"},
        BadPreference{"{" PROMPT R"(,"non_preferred_output":[{"role":"assistant","content":"b"}]})",
                      "a preference has no preferred_output"},
        BadPreference{"{" GOOD "}", "input must be an object with messages"},
        BadPreference{R"({"input":"q",)" GOOD "}", "input must be an object with messages"},
        BadPreference{R"({"input":{"messages":[]},)" GOOD "}",
                      "input.messages must be a list of turns"},
        BadPreference{R"({"input":{"messages":[{"role":"user","content":"q"}],"tools":[{}]},)" GOOD
                      "}",
                      "remove input.tools"},
        BadPreference{"{" PROMPT "," GOOD R"(,"non_preferred_output":[{"role":"assistant"}]})",
                      "non_preferred_output[0] has no content"},
        BadPreference{"{" PROMPT "," GOOD
                      R"(,"non_preferred_output":[{"role":"user","content":"b"}]})",
                      "non_preferred_output must hold turns of the assistant alone"},
        BadPreference{"{" PROMPT "," GOOD
                      R"(,"non_preferred_output":[{"role":"assistant","content":"b","weight":0}]})",
                      "non_preferred_output: no assistant turn to learn from"},
        BadPreference{"{" PROMPT "," GOOD
                      R"(,"non_preferred_output":[{"role":"assistant","content":"good"}]})",
                      "are the same: non_preferred_output"}));

INSTANTIATE_TEST_SUITE_P(
    MsSwift, BadPreferenceTest,
    testing::Values(
        BadPreference{R"({"query":"q","response":"a","rejected_response":"a"})",
                      "are the same: rejected_response"},
        BadPreference{R"({"query":"q","response":"a","rejected_response":7})",
                      "rejected_response must be a list of turns"},
        BadPreference{
            R"({"query":"q","response":"a","rejected_response":"b","rejected_messages":[]})",
            "two columns hold what is rejected"},
        BadPreference{
            R"({"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"q"}],"rejected_response":"b"})",
            "takes the place of an assistant turn at the end, there is one of user"},
        BadPreference{R"({"input_ids":[1,2],"rejected_input_ids":[1,2]})",
                      "are the same: rejected_input_ids"},
        BadPreference{R"({"input_ids":[1,2],"rejected_input_ids":[1,3],"rejected_labels":[1]})",
                      "rejected_labels and rejected_input_ids differ in length: 1, 2"},
        BadPreference{R"({"input_ids":[1,2],"rejected_input_ids":[5]})",
                      "no label to learn in rejected_labels"}));

TEST(RowsWanted, NamesTheFirstRowOfTheOtherKind) {
  const DatasetSummary mixed{
      .rows = 5, .preferences = 2, .first_preference = 3, .first_supervised = 1};
  const auto preferences = check_rows_wanted(mixed, RowsWanted::kPreferences);
  ASSERT_FALSE(preferences);
  EXPECT_THAT(preferences.error().message, HasSubstr("3 of 5, the first on line 1"));
  const auto supervised = check_rows_wanted(mixed, RowsWanted::kSupervised);
  ASSERT_FALSE(supervised);
  EXPECT_THAT(supervised.error().message, HasSubstr("2 of 5, the first on line 3"));
  EXPECT_TRUE(check_rows_wanted({.rows = 5, .preferences = 5}, RowsWanted::kPreferences));
  EXPECT_TRUE(check_rows_wanted({.rows = 5}, RowsWanted::kSupervised));
}

}  // namespace
}  // namespace tunefleet
