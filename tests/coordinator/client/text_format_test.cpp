#include "coordinator/client/text_format.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tunefleet::coordinator {
namespace {

TEST(DurationText, HasTwoUnitsAtMost) {
  EXPECT_EQ(duration_text(-1), "0s");
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(59.6), "1m00s");
  EXPECT_EQ(duration_text(192), "3m12s");
  EXPECT_EQ(duration_text(7500), "2h05m");
  EXPECT_EQ(duration_text(273600), "3d4h");
  EXPECT_EQ(duration_text(NAN), "?");
  EXPECT_EQ(duration_text(INFINITY), "?");
}

TEST(CompactNumber, KeepsThreeDigits) {
  EXPECT_EQ(compact_number(0), "0");
  EXPECT_EQ(compact_number(950), "950");
  EXPECT_EQ(compact_number(1234), "1.2k");
  EXPECT_EQ(compact_number(9960), "10k");
  EXPECT_EQ(compact_number(999'600), "1.0M");
  EXPECT_EQ(compact_number(134'515'008), "135M");
}

TEST(SizeText, CountsInBinaryUnits) {
  EXPECT_EQ(size_text(0), "0 B");
  EXPECT_EQ(size_text(1024), "1.0 KiB");
  EXPECT_EQ(size_text(3'565'158), "3.4 MiB");
}

TEST(CutToWidth, CountsCharactersAndCutsBetweenThem) {
  EXPECT_EQ(cut_to_width("abc", 3), "abc");
  EXPECT_EQ(cut_to_width("abcd", 3), "ab…");
  EXPECT_EQ(cut_to_width("äöüß", 3), "äö…");
  EXPECT_EQ(cut_to_width("abc", 1), "…");
  EXPECT_EQ(cut_to_width("abc", 0), "");
}

TEST(Printable, LeavesNothingThatSteersATerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\nc\n"), "a?[31mb c");
  EXPECT_EQ(printable("ä\x7f"), "ä?");
}

TEST(FormatTable, AlignsColumnsByCharacters) {
  EXPECT_EQ(format_table({{"ID", "NAME", "AGE"}, {"1", "grün", "5s"}, {"22", "x"}}),
            "ID  NAME  AGE\n"
            "1   grün  5s\n"
            "22  x\n");
  EXPECT_EQ(format_table({}), "");
}

}  // namespace
}  // namespace tunefleet::coordinator
