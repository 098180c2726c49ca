#include "coordinator/fleet/curve_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace tunefleet::coordinator {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

class CurveKeysTest : public testing::Test {
 protected:
  CurveKeysTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tf-keys-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~CurveKeysTest() override { std::filesystem::remove_all(root_); }
  std::filesystem::path keys() const { return root_ / "keys"; }
  nlohmann::json read(const std::string& name) const {
    std::ifstream in(keys() / name);
    return nlohmann::json::parse(in);
  }
  std::filesystem::path root_;
};

TEST_F(CurveKeysTest, AreMadeOnceAndKept) {
  const auto first = ensure_fleet_keys(keys());
  ASSERT_TRUE(first) << first.error().message;
  const auto second = ensure_fleet_keys(keys());
  ASSERT_TRUE(second);
  EXPECT_EQ(first->public_key, second->public_key);
  EXPECT_EQ(first->public_key.size(), 40U);
  EXPECT_EQ(read("node.json")["server_public"], first->public_key);
  EXPECT_THAT(allowed_keys(keys()), Contains(read("node.json")["public"].get<std::string>()));
}

TEST_F(CurveKeysTest, SecretsAreTheOwnersAlone) {
  ASSERT_TRUE(ensure_fleet_keys(keys()));
  for (const char* name : {"coordinator.json", "node.json"}) {
    struct stat info {};
    ASSERT_EQ(::stat((keys() / name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U) << name;
  }
  ::chmod((keys() / "node.json").c_str(), 0644);
  const auto refused = ensure_fleet_keys(keys());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(refused.error().message, HasSubstr("node.json"));
}

TEST_F(CurveKeysTest, ADamagedFileIsNamedAndNotReplaced) {
  ASSERT_TRUE(ensure_fleet_keys(keys()));
  std::ofstream(keys() / "coordinator.json") << "{\"public\": \"short\"}";
  const auto refused = ensure_fleet_keys(keys());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(refused.error().message, HasSubstr("coordinator.json"));
}

TEST_F(CurveKeysTest, AnotherNodeGetsKeysOfItsOwn) {
  const auto file = make_node_keys(keys(), "host-b");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(read("host-b.json")["server_public"], read("coordinator.json")["public"]);
  EXPECT_THAT(allowed_keys(keys()), SizeIs(2));
  EXPECT_EQ(make_node_keys(keys(), "host-b").error().code, ErrorCode::kConflict);
  EXPECT_FALSE(make_node_keys(keys(), "../x"));
  std::filesystem::remove(keys() / "allowed/host-b.pub");
  EXPECT_THAT(allowed_keys(keys()), SizeIs(1));
}

}  // namespace
}  // namespace tunefleet::coordinator
