#include "worker/data/encode.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "worker/data/dataset.h"

namespace tunefleet::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RowEncoder encoder_with(EncodeOptions options, const char* name = "chatml") {
  auto tokenizer = Tokenizer::load("tests/worker/data/fixtures/smollm.json");
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return {*tokenizer, *ChatTemplate::choose(name, {"", "<|endoftext|>", ""}), std::move(options)};
}

DatasetRow conversation(std::vector<Message> messages) {
  DatasetRow row;
  row.messages = std::move(messages);
  return row;
}

DatasetRow ids_row(std::vector<int32_t> ids, std::vector<int32_t> labels) {
  DatasetRow row;
  row.form = DatasetForm::kPretokenised;
  row.input_ids = std::move(ids);
  row.labels = std::move(labels);
  return row;
}

std::string learnt_text(const EncodedDataset& examples, int64_t index) {
  std::vector<int32_t> learnt;
  for (const int32_t label : examples.labels(index)) {
    if (label != kIgnoreLabel) learnt.push_back(label);
  }
  return Tokenizer::load("tests/worker/data/fixtures/smollm.json")->decode(learnt, false);
}

TEST(RowEncoder, LabelsAreTheAnswersWithTheirEnds) {
  const auto encoder = encoder_with({});
  EncodedDataset examples;
  const auto row = conversation({{"user", "question", {}},
                                 {"assistant", "first", {}},
                                 {"assistant", "unlearnt", false},
                                 {"assistant", "last", {}},
                                 {"user", "trailing", {}}});
  const auto report = encoder.encode(row, examples);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->examples, 1);
  EXPECT_EQ(learnt_text(examples, 0), "first<|im_end|>last<|im_end|>");
  const auto tokenizer = *Tokenizer::load("tests/worker/data/fixtures/smollm.json");
  EXPECT_EQ(tokenizer.decode(examples.input_ids(0), false),
            "<|im_start|>user\nquestion<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n"
            "<|im_start|>assistant\nunlearnt<|im_end|>\n<|im_start|>assistant\nlast<|im_end|>");
  for (int64_t i = 0; i < examples.length(0); ++i) {
    const auto at = static_cast<size_t>(i);
    const int32_t label = examples.labels(0)[at];
    EXPECT_TRUE(label == kIgnoreLabel || label == examples.input_ids(0)[at]);
  }
}

TEST(RowEncoder, GenerationSeesWhatTrainingSaw) {
  const auto encoder = encoder_with({});
  const std::vector<Message> question{{"user", "q", {}}};
  std::vector<Message> answered = question;
  answered.push_back({"assistant", "\n  an answer", {}});
  const auto prompt = *encoder.encode_conversation(question, true);
  const auto whole = *encoder.encode_conversation(answered, false);
  ASSERT_LT(prompt.input_ids.size(), whole.input_ids.size());
  EXPECT_TRUE(
      std::equal(prompt.input_ids.begin(), prompt.input_ids.end(), whole.input_ids.begin()));
  EXPECT_NE(whole.labels[prompt.input_ids.size()], kIgnoreLabel);
}

TEST(RowEncoder, SystemPromptIsForRowsWithoutOne) {
  const auto encoder = encoder_with({.system = "Be kind.", .max_length = 0, .threads = 1});
  const auto tokenizer = *Tokenizer::load("tests/worker/data/fixtures/smollm.json");
  const auto with = *encoder.encode_conversation(std::vector<Message>{{"user", "q", {}}}, false);
  EXPECT_THAT(tokenizer.decode(with.input_ids, false), HasSubstr("system\nBe kind.<|im_end|>"));
  const std::vector<Message> own{{"system", "Own.", {}}, {"user", "q", {}}};
  const auto kept = *encoder.encode_conversation(own, false);
  EXPECT_THAT(tokenizer.decode(kept.input_ids, false), testing::Not(HasSubstr("Be kind.")));
}

struct TruncationCase {
  Truncation truncation;
  std::vector<std::vector<int32_t>> examples;  ///< Of ids 0 … 9 with labels 2 … 9, cut to 4.
  int64_t too_long;
  int64_t shortened;
};

class TruncationTest : public testing::TestWithParam<TruncationCase> {};

TEST_P(TruncationTest, CutsLongRows) {
  const auto& expected = GetParam();
  const auto encoder =
      encoder_with({.system = {}, .max_length = 4, .truncation = expected.truncation});
  EncodedDataset examples;
  const auto report = *encoder.encode(
      ids_row({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {-100, -100, 2, 3, 4, 5, 6, 7, 8, 9}), examples);
  ASSERT_EQ(examples.size(), static_cast<int64_t>(expected.examples.size()));
  for (int64_t i = 0; i < examples.size(); ++i) {
    const auto ids = examples.input_ids(i);
    EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.end()),
              expected.examples[static_cast<size_t>(i)]);
    EXPECT_EQ(examples.labels(i).front(), kIgnoreLabel);
  }
  EXPECT_EQ(report.too_long, expected.too_long);
  EXPECT_EQ(report.shortened, expected.shortened);
  EXPECT_EQ(report.rows, 1);
}

INSTANTIATE_TEST_SUITE_P(
    Strategies, TruncationTest,
    testing::Values(TruncationCase{Truncation::kDelete, {}, 1, 0},
                    TruncationCase{Truncation::kLeft, {{6, 7, 8, 9}}, 0, 1},
                    TruncationCase{Truncation::kRight, {{0, 1, 2, 3}}, 0, 1},
                    TruncationCase{
                        Truncation::kSplit, {{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}}, 0, 1}));

TEST(RowEncoder, ExamplesWithoutAnythingLearntAreLeftOutAndCounted) {
  const auto encoder =
      encoder_with({.system = {}, .max_length = 3, .truncation = Truncation::kRight});
  EncodedDataset examples;
  const auto report = *encoder.encode(ids_row({1, 2, 3, 4}, {-100, -100, -100, 4}), examples);
  EXPECT_EQ(examples.size(), 0);
  EXPECT_EQ(report.no_answer, 1);
  EXPECT_EQ(report.text(encoder.options()),
            "1 rows, 0 examples, 1 cut to 3 tokens (truncation_strategy: right), 1 left out as "
            "nothing in them is learnt");
}

TEST(RowEncoder, IdsPastTheVocabularyAreRefused) {
  EncodedDataset examples;
  const auto report = encoder_with({}).encode(ids_row({1, 425}, {-100, 425}), examples);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "token id past the vocabulary: 425 >= 425");
}

class EncodeRowsTest : public testing::TestWithParam<int64_t> {};

TEST_P(EncodeRowsTest, GivesTheSameOnAnyNumberOfThreads) {
  std::vector<DatasetRow> rows;
  for (int i = 0; i < 500; ++i) {
    rows.push_back(conversation({{"user", std::string(static_cast<size_t>(i % 40), 'q'), {}},
                                 {"assistant", "answer " + std::to_string(i), {}}}));
  }
  const auto all =
      encode_rows(rows, encoder_with({.system = {}, .threads = GetParam()}), "a.jsonl");
  ASSERT_TRUE(all);
  ASSERT_EQ(all->examples.size(), 500);
  EXPECT_EQ(all->report.rows, 500);
  for (int64_t i = 0; i < 500; ++i) {
    EXPECT_EQ(learnt_text(all->examples, i % 7 ? 0 : i),
              "answer " + std::to_string(i % 7 ? 0 : i) + "<|im_end|>");
    if (i > 20) break;
  }
  EXPECT_EQ(learnt_text(all->examples, 499), "answer 499<|im_end|>");
  rows[300].messages[0].role = "tool_call";
  rows[300].line = 301;
  rows[450].messages[0].role = "tool_call";
  const auto bad =
      encode_rows(rows, encoder_with({.system = {}, .threads = GetParam()}), "a.jsonl");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "a.jsonl:301: the template chatml has no turns of role tool_call");
}

INSTANTIATE_TEST_SUITE_P(Threads, EncodeRowsTest, testing::Values(1, 2, 3, 8));

TEST(EncodeRows, NoRowsGiveNoExamples) {
  const auto none = encode_rows({}, encoder_with({}), "a.jsonl");
  ASSERT_TRUE(none);
  EXPECT_EQ(none->examples.size(), 0);
}

TEST(EncodedDataset, AppendedAndChosenExamplesKeepTheirTokens) {
  EncodedDataset first, second;
  first.append(std::vector<int32_t>{1, 2}, std::vector<int32_t>{-100, 2});
  second.append(std::vector<int32_t>{3}, std::vector<int32_t>{-100});
  second.append(std::vector<int32_t>{4, 5, 6}, std::vector<int32_t>{-100, 5, 6});
  first.append(second);
  EXPECT_EQ(first.size(), 3);
  EXPECT_EQ(first.tokens(), 6);
  EXPECT_EQ(first.trained_tokens(), 3);
  const auto chosen = first.subset(std::vector<int64_t>{2, 0});
  EXPECT_THAT(chosen.input_ids(0), ElementsAre(4, 5, 6));
  EXPECT_THAT(chosen.labels(1), ElementsAre(-100, 2));
  EXPECT_THROW(first.append(std::vector<int32_t>{1}, std::vector<int32_t>{}),
               std::invalid_argument);
}

TEST(LoadDataset, ReadsSeveralFilesAndTellsWhenNothingIsLeft) {
  std::string pattern = testing::TempDir() + "tunefleet-load-XXXXXX";
  const std::filesystem::path directory = mkdtemp(pattern.data());
  const std::vector<std::string> paths{directory / "a.jsonl", directory / "b.json"};
  std::ofstream(paths[0]) << "{\"query\":\"q\",\"response\":\"a\"}\n";
  std::ofstream(paths[1]) << "[{\"query\":\"q\",\"response\":\"b\"}]";
  const auto both = load_dataset(paths, encoder_with({}));
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ(learnt_text(both->examples, 0), "a<|im_end|>");
  EXPECT_EQ(learnt_text(both->examples, 1), "b<|im_end|>");
  const auto none = load_dataset(paths, encoder_with({.system = {}, .max_length = 2}));
  ASSERT_FALSE(none);
  EXPECT_EQ(
      none.error().message,
      "no example is left to train on: 2 rows, 0 examples, 2 left out as longer than 2 tokens "
      "(truncation_strategy: delete); raise max_length or choose another truncation_strategy");
  std::filesystem::remove_all(directory);
}

TEST(TruncationNames, AreTheJobFiles) {
  EXPECT_EQ(truncation_named("split"), Truncation::kSplit);
  EXPECT_THAT(truncation_named("middle").error().message,
              HasSubstr("known: delete, left, right, split"));
}

DatasetRow preference(std::vector<int32_t> chosen, std::vector<int32_t> rejected) {
  DatasetRow row = ids_row(chosen, chosen);
  row.rejected_input_ids = rejected;
  row.rejected_labels = std::move(rejected);
  return row;
}

TEST(RowEncoder, APreferenceIsTwoExamplesWithOnePrompt) {
  const auto encoder = encoder_with({.system = {}, .preferences = true});
  DatasetRow row = conversation({{"user", "q", {}}, {"assistant", "good", {}}});
  row.rejected_messages = {{"user", "q", {}}, {"assistant", "bad", {}}};
  EncodedDataset examples;
  const auto report = encoder.encode(row, examples);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->examples, 1);
  ASSERT_EQ(examples.size(), 2);
  EXPECT_EQ(learnt_text(examples, 0), "good<|im_end|>");
  EXPECT_EQ(learnt_text(examples, 1), "bad<|im_end|>");
}

TEST(RowEncoder, APairIsKeptOrLeftOutTogether) {
  EncodedDataset examples;
  const auto deleting = encoder_with({.system = {}, .max_length = 3, .preferences = true});
  auto report = deleting.encode(preference({1, 2}, {1, 2, 3, 4}), examples);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->too_long, 1);
  EXPECT_EQ(examples.size(), 0);
  const auto cutting = encoder_with(
      {.system = {}, .max_length = 3, .truncation = Truncation::kLeft, .preferences = true});
  report = cutting.encode(preference({1, 2}, {1, 2, 3, 4}), examples);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->shortened, 1);
  ASSERT_EQ(examples.size(), 2);
  EXPECT_THAT(examples.input_ids(0), ElementsAre(1, 2));
  EXPECT_THAT(examples.input_ids(1), ElementsAre(2, 3, 4));
  EXPECT_THAT(examples.labels(1), ElementsAre(kIgnoreLabel, 3, 4));
  const auto right = encoder_with(
      {.system = {}, .max_length = 2, .truncation = Truncation::kRight, .preferences = true});
  DatasetRow unlearnt = preference({1, 2}, {1, 2, 3});
  unlearnt.rejected_labels = {kIgnoreLabel, kIgnoreLabel, 3};
  report = right.encode(unlearnt, examples);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->no_answer, 1);
  EXPECT_EQ(report->examples, 0);
  EXPECT_EQ(examples.size(), 2);
}

TEST(RowEncoder, RefusesRowsOfTheOtherKind) {
  EncodedDataset examples;
  const auto supervised = encoder_with({}).encode(preference({1, 2}, {1, 3}), examples);
  ASSERT_FALSE(supervised);
  EXPECT_THAT(supervised.error().message, HasSubstr("the row is a preference"));
  const auto paired =
      encoder_with({.system = {}, .preferences = true}).encode(ids_row({1, 2}, {1, 2}), examples);
  ASSERT_FALSE(paired);
  EXPECT_THAT(paired.error().message, HasSubstr("the row has no rejected answer"));
}

TEST(SplitDataset, HoldsOutWholePairs) {
  EncodedDataset all;
  for (int32_t i = 0; i < 20; ++i) all.append(std::vector{i, i}, std::vector{i, i});
  const auto parts = split_dataset(all, 0.3, 42, 2);
  ASSERT_EQ(parts.eval.size(), 6);
  ASSERT_EQ(parts.train.size(), 14);
  for (const auto* part : {&parts.train, &parts.eval}) {
    for (int64_t i = 0; i < part->size(); i += 2) {
      EXPECT_EQ(part->input_ids(i)[0] % 2, 0);
      EXPECT_EQ(part->input_ids(i + 1)[0], part->input_ids(i)[0] + 1);
    }
  }
}

}  // namespace
}  // namespace tunefleet::data
