#include "coordinator/api/multipart_reader.h"

#include <gtest/gtest.h>

#include <vector>

namespace tunefleet::coordinator {
namespace {

struct SeenPart {
  std::string name;
  std::string filename;
  std::string content;
  bool operator==(const SeenPart&) const = default;
};

/// Feeds `body` in pieces of `size`.
Result<std::vector<SeenPart>> read(const std::string& body, size_t size,
                                   const std::string& boundary = "b0") {
  std::vector<SeenPart> parts;
  MultipartReader reader(boundary,
                         {.begin =
                              [&](const MultipartPart& part) {
                                parts.push_back({part.name, part.filename.value_or(""), ""});
                                return Status();
                              },
                          .data =
                              [&](std::string_view piece) {
                                parts.back().content += piece;
                                return Status();
                              },
                          .end = [] { return Status(); }});
  for (size_t at = 0; at < body.size(); at += size) {
    if (const auto fed = reader.feed(std::string_view(body).substr(at, size)); !fed) {
      return fail(fed.error());
    }
  }
  if (const auto whole = reader.finish(); !whole) return fail(whole.error());
  return parts;
}

const std::string kBody =
    "--b0\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
    "--b0\r\ncontent-type: text/plain\r\ncontent-disposition: form-data; name=\"file\"; "
    "filename=\"a\\\"; name=\\\"x.jsonl\"\r\n\r\n\r\n--b\r\n--b00?\r\n\r\n"
    "--b0\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b0--\r\n";

class MultipartPieces : public testing::TestWithParam<size_t> {};

TEST_P(MultipartPieces, GivesTheSamePartsHoweverTheBodyIsCut) {
  std::string body = kBody;
  body.replace(body.find("--b00?"), 6, "--bx0?");
  const auto parts = read(body, GetParam());
  ASSERT_TRUE(parts) << parts.error().message;
  const std::vector<SeenPart> expected{{"purpose", "", "fine-tune"},
                                       {"file", "a\"; name=\"x.jsonl", "\r\n--b\r\n--bx0?\r\n"},
                                       {"empty", "", ""}};
  EXPECT_EQ(*parts, expected);
}

INSTANTIATE_TEST_SUITE_P(Sizes, MultipartPieces, testing::Values(1, 2, 3, 7, 64, 4096));

TEST(MultipartReader, RefusesWhatIsCutShortAnywhere) {
  std::string body = kBody;
  body.replace(body.find("--b00?"), 6, "--bx0?");
  for (size_t end = 0; end + 4 < body.size(); ++end) {
    EXPECT_FALSE(read(body.substr(0, end), 16)) << end;
  }
}

TEST(MultipartReader, BoundsHeadersAndParts) {
  EXPECT_FALSE(read("--b0\r\nX: " + std::string(20'000, 'a'), 1000));
  EXPECT_FALSE(read(std::string(20'000, 'a'), 1000));
  std::string many;
  for (int i = 0; i < 20; ++i) {
    many += "--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
  }
  EXPECT_FALSE(read(many + "--b0--\r\n", 1000));
}

TEST(MultipartReader, FindsTheBoundary) {
  const auto boundary = [](const char* type) {
    return MultipartReader::boundary_of(type).value_or("none");
  };
  EXPECT_EQ(boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(boundary("Multipart/Form-Data; charset=utf-8; boundary=\"a b\""), "a b");
  EXPECT_EQ(boundary("multipart/form-data"), "none");
  EXPECT_EQ(boundary("application/json"), "none");
  EXPECT_EQ(boundary(""), "none");
}

}  // namespace
}  // namespace tunefleet::coordinator
