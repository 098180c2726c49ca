#include "coordinator/fleet/tenant_policies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunefleet::coordinator {
namespace {

using testing::SizeIs;
using testing::StartsWith;

std::string problem_of(const std::string& yaml) {
  const auto read = tenant_policies_of(yaml, "tenants.yaml");
  return read ? "" : read.error().message;
}

TEST(TenantPolicies, AreReadFromYaml) {
  const auto read = tenant_policies_of(
      "vision: {weight: 2.5, max_slots: 16}\ninterns:\n  max_slots: 4\nrest: {}\n", "t.yaml");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_THAT(*read, SizeIs(3));
  EXPECT_EQ((*read)[0].tenant, "vision");
  EXPECT_EQ((*read)[0].weight, 2.5);
  EXPECT_EQ((*read)[0].max_slots, 16);
  EXPECT_EQ((*read)[1].tenant, "interns");
  EXPECT_EQ((*read)[1].weight, 1.0);
  EXPECT_EQ((*read)[1].max_slots, 4);
  EXPECT_EQ((*read)[2].max_slots, 0);
  EXPECT_THAT(*tenant_policies_of("", "t.yaml"), SizeIs(0));
}

TEST(TenantPolicies, EveryWrongLineIsNamed) {
  EXPECT_EQ(problem_of("a: {weight: 0}\nb:\n  max_slots: 1.5\n"),
            "tenants.yaml:1: a.weight: wants a number above 0, at most 1000000, got `0`\n"
            "tenants.yaml:3: b.max_slots: wants a whole number from 1 (leave it out for no limit), "
            "got `1.5`");
  EXPECT_EQ(problem_of("a: {wieght: 1}\n"),
            "tenants.yaml:1: a.wieght: unknown key, did you mean weight?");
  EXPECT_EQ(problem_of("a: {}\na: {}\n"), "tenants.yaml:2: a: given twice: remove one");
  EXPECT_EQ(problem_of("a: 3\n"), "tenants.yaml:1: a: wants {weight: …, max_slots: …}, got `3`");
  EXPECT_THAT(problem_of("- a\n"), StartsWith("tenants.yaml:1: wants `tenant:"));
  EXPECT_THAT(problem_of("a: [\n"), StartsWith("tenants.yaml:"));
}

}  // namespace
}  // namespace tunefleet::coordinator
