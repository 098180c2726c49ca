#include "proto/job_fields.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "proto/foreign_keys.h"

namespace tunefleet {
namespace {

TEST(JobFields, HaveEachKeyOnceWithItsMeaning) {
  std::set<std::string_view> keys;
  for (const auto& field : job_fields()) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_FALSE(field.help.empty()) << field.key;
    EXPECT_EQ(find_job_field(field.key), &field);
  }
  EXPECT_EQ(find_job_field("colour"), nullptr);
}

TEST(JobFields, AreAllWrittenOut) { EXPECT_EQ(to_json(JobSpec{}).size(), job_fields().size()); }

TEST(JobFields, AreNoForeignKeys) {
  for (const auto key : job_keys()) EXPECT_FALSE(foreign_key_advice(key)) << key;
}

/// A member that the table forgets would silently keep its default: it shows as a hole between the
/// others.
TEST(JobFields, CoverTheWholeStruct) {
  struct Extent {
    const char* begin;
    size_t size;
    size_t alignment;
  };
  const JobSpec spec;
  std::vector<Extent> extents;
  for (const auto& field : job_fields()) {
    std::visit(
        [&](auto member) {
          const auto& value = spec.*member;
          extents.push_back(
              {reinterpret_cast<const char*>(&value), sizeof(value), alignof(decltype(value))});
        },
        field.member);
  }
  std::sort(extents.begin(), extents.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
  extents.push_back({reinterpret_cast<const char*>(&spec + 1), 0, alignof(JobSpec)});
  const char* end = reinterpret_cast<const char*>(&spec);
  for (const auto& extent : extents) {
    EXPECT_LT(extent.begin - end, static_cast<ptrdiff_t>(extent.alignment))
        << "no JobField for the member at offset " << end - reinterpret_cast<const char*>(&spec);
    end = extent.begin + extent.size;
  }
}

TEST(Limits, SayWhatTheyContain) {
  EXPECT_EQ(Limits{}.text(), "");
  EXPECT_EQ((Limits{.min = 1}).text(), "at least 1");
  EXPECT_EQ((Limits{.min = 0, .above_min = true}).text(), "above 0");
  EXPECT_EQ((Limits{.min = 0, .max = 1, .below_max = true}).text(), "from 0 to below 1");
  EXPECT_FALSE((Limits{.min = 0, .max = 1, .below_max = true}).contains(1));
  EXPECT_FALSE((Limits{.min = 0, .above_min = true}).contains(0));
  EXPECT_TRUE((Limits{.min = 0, .max = 1}).contains(1));
}

/// With TUNEFLEET_UPDATE_DOCS set, writes the page instead.
TEST(JobSpecMarkdown, IsWhatTheTableSays) {
  const char* page = "proto/job_spec.md";
  if (std::getenv("TUNEFLEET_UPDATE_DOCS") != nullptr) std::ofstream(page) << job_spec_markdown();
  std::stringstream written;
  written << std::ifstream(page).rdbuf();
  EXPECT_EQ(written.str(), job_spec_markdown())
      << "run this test with TUNEFLEET_UPDATE_DOCS=1 to write " << page;
}

}  // namespace
}  // namespace tunefleet
