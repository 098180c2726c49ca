#include "worker/agent/orted_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunefleet::agent {
namespace {

using testing::ElementsAre;

// What Open MPI 4.1.4 gives its plm_rsh_agent, words joined by spaces.
TEST(OrtedCommand, ReadsWhatMpirunWrites) {
  const auto options = orted_options(
      R"~( orted -mca ess "env" -mca ess_base_vpid 1 -mca orte_node_regex )~"
      R"~("vm,agent-[2:10].0.0.7@0(3)" -mca orte_hnp_uri )~"
      R"~("1369899008.0;tcp://192.0.2.2:42755;tcp6://[fd00::2]:57905" --mca pmix "^s1,s2")~");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_THAT(*options,
              ElementsAre("-mca", "ess", "env", "-mca", "ess_base_vpid", "1", "-mca",
                          "orte_node_regex", "vm,agent-[2:10].0.0.7@0(3)", "-mca", "orte_hnp_uri",
                          "1369899008.0;tcp://192.0.2.2:42755;tcp6://[fd00::2]:57905", "--mca",
                          "pmix", "^s1,s2"));
}

TEST(OrtedCommand, LeavesOutWhatIsTheNodesOwn) {
  const auto options = orted_options(
      R"(/usr/bin/orted -mca plm_rsh_agent "/lead/agent exec-on" -mca orte_tmpdir_base "/lead/tmp" )"
      R"(-mca btl_vader_backing_directory "/lead/tmp" --mca odls_base_sigkill_timeout "9" )"
      R"(-mca plm "rsh")");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_THAT(*options, ElementsAre("-mca", "plm", "rsh"));
}

class RefusedCommandTest : public testing::TestWithParam<const char*> {};

TEST_P(RefusedCommandTest, IsRefused) {
  const auto options = orted_options(GetParam());
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().code, ErrorCode::kPermissionDenied);
}

INSTANTIATE_TEST_SUITE_P(Commands, RefusedCommandTest,
                         testing::Values("", "   ", "sh -mca a b", "/bin/orted-not -mca a b",
                                         "orted -mca a", "orted -x a b", "orted --daemonize",
                                         "orted -mca a b; rm x y", "orted -mca a $(id)",
                                         "orted -mca a \"$HOME\"", "orted -mca a \"`id`\"",
                                         "orted -mca a \"b\\\" c\"", "orted -mca a 'b'",
                                         "orted -mca a \"b", "orted -mca a b\n", "orted -mca a b>c",
                                         "orted -mca a *", "orted -mca a b&", "orted | -mca a"));

TEST(OrtedCommand, HasALimit) {
  EXPECT_FALSE(orted_options("orted -mca a " + std::string(70'000, 'x')));
}

}  // namespace
}  // namespace tunefleet::agent
