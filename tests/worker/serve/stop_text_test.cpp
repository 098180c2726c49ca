#include "worker/serve/stop_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tunefleet::serve {
namespace {

/// What is shown of an answer that comes in these pieces.
std::string shown(StopText stop, const std::vector<std::string>& pieces) {
  std::string text;
  for (const auto& piece : pieces) text += stop.push(piece);
  return text + stop.finish();
}

TEST(StopTextTest, WithoutTextsEverythingIsShownAtOnce) {
  StopText stop({});
  EXPECT_EQ(stop.push("hello"), "hello");
  EXPECT_EQ(stop.finish(), "");
  EXPECT_FALSE(stop.found());
}

TEST(StopTextTest, EndsBeforeTheText) {
  StopText stop({"END"});
  EXPECT_EQ(stop.push("one END two"), "one ");
  EXPECT_TRUE(stop.found());
  EXPECT_EQ(stop.push("more"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopTextTest, HoldsBackOnlyWhatMayBeABeginning) {
  StopText stop({"\n\n"});
  EXPECT_EQ(stop.push("a\n"), "a");
  EXPECT_EQ(stop.push("b"), "\nb");
  EXPECT_EQ(stop.push("\n"), "");
  EXPECT_EQ(stop.finish(), "\n");
}

TEST(StopTextTest, ABeginningThatRepeatsItselfIsFound) {
  EXPECT_EQ(shown(StopText({"aab"}), {"a", "a", "a", "b", "c"}), "a");
}

TEST(StopTextTest, OfSeveralTheFirstThatIsCompleteCounts) {
  EXPECT_EQ(shown(StopText({"two", "one", ""}), {"zero one two"}), "zero ");
}

/// `text` cut by looking at it letter by letter.
std::string cut(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t size = 1; size <= text.size(); ++size) {
    const std::string seen = text.substr(0, size);
    size_t longest = 0;
    for (const auto& stop : stops) {
      if (seen.ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return seen.substr(0, size - longest);
  }
  return text;
}

TEST(StopTextTest, PiecesMakeNoDifference) {
  std::mt19937 random(7);
  const auto letters = [&random](size_t size) {
    std::string text;
    while (text.size() < size) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int run = 0; run < 2000; ++run) {
    const std::string text = letters(random() % 20);
    const std::vector<std::string> stops{letters(1 + random() % 4), letters(1 + random() % 6)};
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, random() % 4));
      at += pieces.back().size();
    }
    ASSERT_EQ(shown(StopText(stops), pieces), cut(text, stops))
        << text << " " << stops[0] << " " << stops[1];
  }
}

}  // namespace
}  // namespace tunefleet::serve
