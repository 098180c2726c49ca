#include "coordinator/api/chunked_body.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

namespace tunefleet::coordinator {
namespace {

/// What was read of a body, and how much of the text after it is left.
struct Outcome {
  Status status;
  std::string body;
  std::string rest;
};

Outcome read(std::string_view text, size_t at_once = 4096) {
  Outcome outcome;
  const auto source = [&](char* data, size_t size) {
    const size_t n = std::min({size, text.size(), at_once});
    std::memcpy(data, text.data(), n);
    text.remove_prefix(n);
    return static_cast<ssize_t>(n);
  };
  outcome.status = read_chunked_body(source, [&](std::string_view piece) {
    outcome.body += piece;
    return true;
  });
  outcome.rest = text;
  return outcome;
}

class ChunkedPieces : public testing::TestWithParam<size_t> {};

TEST_P(ChunkedPieces, GiveTheSameBodyHoweverTheyArrive) {
  const std::string large(40'000, 'z');
  const auto outcome =
      read("5\r\nhello\r\n0001;name=\"value\"\r\n \r\n9c40\r\n" + large + "\r\n0\r\n\r\nGET /next",
           GetParam());
  ASSERT_TRUE(outcome.status) << outcome.status.error().message;
  EXPECT_EQ(outcome.body, "hello " + large);
  EXPECT_EQ(outcome.rest, "GET /next") << "what follows belongs to the next request";
}

INSTANTIATE_TEST_SUITE_P(Sizes, ChunkedPieces, testing::Values(1, 2, 3, 7, 4096));

class MalformedChunks : public testing::TestWithParam<std::string> {};

TEST_P(MalformedChunks, AreRefused) {
  const auto outcome = read(GetParam());
  ASSERT_FALSE(outcome.status) << outcome.body;
  EXPECT_EQ(outcome.status.error().code, ErrorCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(
    Spellings, MalformedChunks,
    testing::Values("2\n{}\r\n0\r\n\r\n", "2\r\n{}\n0\r\n\r\n", "2\r\n{}\r\n0\n\r\n",
                    "2\r\n{}\r\n0\r\n\n", "2\r\r\n{}\r\n0\r\n\r\n", "2 \r\n{}\r\n0\r\n\r\n",
                    " 2\r\n{}\r\n0\r\n\r\n", "2 junk\r\n{}\r\n0\r\n\r\n", "0x2\r\n{}\r\n0\r\n\r\n",
                    "+2\r\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "\r\n{}\r\n0\r\n\r\n",
                    ";a\r\n{}\r\n0\r\n\r\n", "2\r\n{}XX\r\n0\r\n\r\n", "2\r\n{}XX0\r\n\r\n",
                    "3\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
                    "fffffffffffffffff\r\n{}\r\n0\r\n\r\n", "ffffffffffffffff\r\n{}",
                    "2\r\n{}\r\n"));

TEST(ChunkedBody, IsCutShortAnywhereAndThenRefused) {
  const std::string whole = "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
  ASSERT_TRUE(read(whole).status);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(read(std::string_view(whole).substr(0, size)).status) << size;
  }
}

/// An endless source shows that a line is not kept, however long it is.
TEST(ChunkedBody, ReadsNoEndlessLine) {
  for (const std::string begin : {"", "2;", "2\r\n{}\r\n0\r\n"}) {
    size_t given = 0;
    const auto source = [&](char* data, size_t size) {
      for (size_t i = 0; i < size; ++i, ++given)
        data[i] = given < begin.size() ? begin[given] : '0';
      return static_cast<ssize_t>(size);
    };
    EXPECT_FALSE(read_chunked_body(source, [](std::string_view) { return true; })) << begin;
    EXPECT_LT(given, 1000) << begin;
  }
}

TEST(ChunkedBody, EndsWhenTheReceiverHasEnough) {
  size_t got = 0;
  const auto source = [](char* data, size_t size) {
    std::memset(data, 'f', size);
    return static_cast<ssize_t>(size);
  };
  std::string head = "fffffff\r\n";
  const auto with_head = [&](char* data, size_t size) -> ssize_t {
    if (head.empty()) return source(data, size);
    data[0] = head.front();
    head.erase(0, 1);
    return 1;
  };
  EXPECT_FALSE(read_chunked_body(with_head, [&](std::string_view piece) {
    got += piece.size();
    return got < 100'000;
  }));
  EXPECT_LT(got, 200'000);
}

}  // namespace
}  // namespace tunefleet::coordinator
