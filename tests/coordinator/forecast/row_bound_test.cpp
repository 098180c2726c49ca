#include "coordinator/forecast/row_bound.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kLimit = 1 << 20;

class RowBoundTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }
  ~RowBoundTest() override { std::filesystem::remove(path_); }

  std::filesystem::path path_ = std::filesystem::temp_directory_path() /
                                (std::string("tunefleet-rows-") +
                                 testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(RowBoundTest, TextHasAtMostItsBytes) {
  EXPECT_EQ(longest_row(write("{\"query\": \"a\"}\n\n{\"query\": \"long\"}\r\n"), kLimit), 18);
}

TEST_F(RowBoundTest, TokenIdsAreCounted) {
  EXPECT_EQ(longest_row(write("{\"input_ids\": [10001, 10002, 10003]}"), kLimit), 3);
}

TEST_F(RowBoundTest, IsUnknownForAListForTooMuchAndForNothing) {
  EXPECT_FALSE(longest_row(write("[\n{\"query\": \"a\"}\n]"), kLimit));
  EXPECT_FALSE(longest_row(write("{\"query\": \"a\"}"), 5));
  EXPECT_FALSE(longest_row(write(""), kLimit));
  EXPECT_FALSE(longest_row(path_ / "absent", kLimit));
}

}  // namespace
}  // namespace tunefleet::coordinator
