#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "proto/dataset_rows.h"
#include "proto/json_records.h"

namespace tunefleet {
namespace {

using testing::HasSubstr;
using testing::Not;

class DatasetFileTest : public testing::Test {
 protected:
  DatasetFileTest() {
    std::string pattern = testing::TempDir() + "tunefleet-dataset-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~DatasetFileTest() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path write(std::string_view text) {
    const auto path = directory_ / "rows.jsonl";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::vector<std::string> answers(std::string_view text) {
    const auto rows = read_dataset(write(text));
    EXPECT_TRUE(rows) << rows.error().message;
    std::vector<std::string> found;
    if (rows) {
      for (const auto& row : *rows) {
        found.push_back(fmt::format("{}@{}", row.messages.back().content, row.line));
      }
    }
    return found;
  }

  std::string refusal(std::string_view text) {
    const auto summary = check_dataset(write(text), "rows.jsonl");
    EXPECT_FALSE(summary);
    return summary ? "" : summary.error().message;
  }

  std::filesystem::path directory_;
};

using Strings = std::vector<std::string>;

TEST_F(DatasetFileTest, LinesAreRows) {
  EXPECT_EQ(answers("{\"text\":\"a\"}\n{\"text\":\"b\"}\n"), (Strings{"a@1", "b@2"}));
  EXPECT_EQ(answers("{\"text\":\"a\"}\n{\"text\":\"b\"}"), (Strings{"a@1", "b@2"}));
}

TEST_F(DatasetFileTest, PreferencesAreCountedWithTheFirstLineOfEachKind) {
  const auto summary = check_dataset(write(
      "{\"text\":\"a\"}\n\n{\"query\":\"q\",\"response\":\"a\",\"rejected_response\":\"b\"}\n"));
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(summary->rows, 2);
  EXPECT_EQ(summary->preferences, 1);
  EXPECT_EQ(summary->first_supervised, 1);
  EXPECT_EQ(summary->first_preference, 3);
}

TEST_F(DatasetFileTest, ByteOrderMarkCrLfAndBlankLinesAreAccepted) {
  EXPECT_EQ(answers("\xEF\xBB\xBF\r\n{\"text\":\"a\"}\r\n\r\n  \n{\"text\":\"b\"}\r\n\n"),
            (Strings{"a@2", "b@5"}));
}

TEST_F(DatasetFileTest, ArrayElementsAreRowsWithTheirLines) {
  EXPECT_EQ(answers("[\n  {\"text\": \"a,]\\\"\"},\n  {\n \"text\": \"b\"}\n, {\"text\":\"c\"}]\n"),
            (Strings{"a,]\"@2", "b@3", "c@5"}));
}

TEST_F(DatasetFileTest, ArrayAndLinesGiveTheSameRows) {
  std::string lines, array = "[";
  for (int i = 0; i < 50000; ++i) {  // longer than the reader's buffer
    const auto row = fmt::format(R"({{"query":"q{}","response":"a{}"}})", i, i);
    lines += row + "\n";
    array += (i ? "," : "") + row;
  }
  const auto from_lines = read_dataset(write(lines));
  const auto from_array = read_dataset(write(array + "]"));
  ASSERT_TRUE(from_lines && from_array);
  ASSERT_EQ(from_lines->size(), 50000u);
  ASSERT_EQ(from_array->size(), 50000u);
  for (size_t i = 0; i < from_lines->size(); ++i) {
    ASSERT_EQ((*from_lines)[i].messages, (*from_array)[i].messages);
  }
}

TEST_F(DatasetFileTest, SummaryCountsRowsAndBytes) {
  const std::string text =
      "{\"instruction\":\"a\",\"input\":\"b\",\"output\":\"c\"}\n{\"text\":\"b\"}\n";
  const auto summary = check_dataset(write(text));
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->rows, 2);
  EXPECT_EQ(summary->form, DatasetForm::kAlpaca);
  EXPECT_EQ(summary->bytes, static_cast<int64_t>(text.size()));
}

TEST_F(DatasetFileTest, FileWithoutRowsIsRefused) {
  EXPECT_EQ(refusal(""), "no rows in the file: rows.jsonl");
  EXPECT_EQ(refusal("\xEF\xBB\xBF\n \r\n"), "no rows in the file: rows.jsonl");
  EXPECT_EQ(refusal(" [ ] "), "no rows in the file: rows.jsonl");
}

TEST_F(DatasetFileTest, EveryMalformedRowIsListedWithItsLine) {
  const auto message = refusal("{\"text\":\"a\"}\n{\"query\":\"q\"}\n\n{oops\n");
  EXPECT_THAT(message, HasSubstr("malformed rows: 2 in rows.jsonl"));
  EXPECT_THAT(message, HasSubstr("\n  rows.jsonl:2: no column to learn from"));
  EXPECT_THAT(message, HasSubstr("\n  rows.jsonl:4: not JSON"));
}

TEST_F(DatasetFileTest, OnlyTheFirstMalformedRowsAreListed) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "{}\n";
  const auto message = refusal(text);
  EXPECT_THAT(message, HasSubstr("malformed rows: 50"));
  EXPECT_THAT(message, HasSubstr("rows.jsonl:20: "));
  EXPECT_THAT(message, Not(HasSubstr("rows.jsonl:21: ")));
  EXPECT_THAT(message, HasSubstr("and 30 more"));
}

TEST_F(DatasetFileTest, BrokenArraysNameTheLine) {
  EXPECT_THAT(refusal("[{\"text\":\"a\"}\n{\"text\":\"b\"}]"), HasSubstr("rows.jsonl:1: "));
  EXPECT_THAT(refusal("[{\"text\":\"a\"},\n]"), HasSubstr("rows.jsonl:2: a comma before"));
  EXPECT_THAT(refusal("[{\"text\":\"a\"},\n{\"text\":"),
              HasSubstr("rows.jsonl:2: the array does not end"));
  EXPECT_THAT(refusal("[{\"text\":\"a\"}]\nmore"),
              HasSubstr("rows.jsonl:2: text after the array's end"));
}

TEST_F(DatasetFileTest, DeepRowsAreRefusedBeforeTheyAreParsed) {
  const std::string deep =
      "{\"text\":\"a\",\"x\":" + std::string(100000, '[') + std::string(100000, ']') + "}\n";
  EXPECT_THAT(refusal(deep), HasSubstr("rows.jsonl:1: nested deeper than 64 levels"));
}

TEST_F(DatasetFileTest, LongRowsAreRefusedAndTheNextStillRead) {
  const DatasetLimits limits{.max_row_bytes = 40};
  const auto path =
      write("{\"text\":\"" + std::string(1000000, 'x') + "\"}\n{\"text\":\"b\"}\n{}\n");
  const auto status = visit_dataset(
      path, [](DatasetRow&&) {}, "rows.jsonl", limits);
  ASSERT_FALSE(status);
  EXPECT_EQ(
      status.error().message,
      "malformed rows: 2 in rows.jsonl\n  rows.jsonl:1: longer than 40 bytes\n  rows.jsonl:3: "
      "no column to learn from; known: messages, response (or answer, output, text, …), input_ids");
}

TEST_F(DatasetFileTest, MissingFilesAndDirectoriesAreTold) {
  const auto missing = check_dataset(directory_ / "none.jsonl");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  const auto folder = check_dataset(directory_);
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().message, HasSubstr("not a regular file"));
}

TEST_F(DatasetFileTest, AnyPrefixOfAFileIsReadOrRefused) {
  const std::string text = "[{\"query\":\"a\\\"\",\"response\":\"\\u00e9\"},\n {\"text\":\"b\"}]";
  for (size_t length = 0; length <= text.size(); ++length) {
    EXPECT_EQ(check_dataset(write(text.substr(0, length))).has_value(), length == text.size());
  }
}

}  // namespace
}  // namespace tunefleet
