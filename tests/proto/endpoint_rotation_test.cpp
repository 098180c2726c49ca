#include "proto/endpoint_rotation.h"

#include <gtest/gtest.h>

namespace tunefleet {
namespace {

TEST(EndpointRotation, StaysWithItsOnlyAddress) {
  EndpointRotation rotation("tcp://a:1");
  EXPECT_FALSE(rotation.moves_on(false, 0));
  EXPECT_FALSE(rotation.moves_on(false, 1'000'000));
  EXPECT_EQ(rotation.current(), "tcp://a:1");
}

TEST(EndpointRotation, GoesOnAfterFiveSecondsWithoutAConnectionAndRoundAgain) {
  EndpointRotation rotation("tcp://a:1,tcp://b:2");
  EXPECT_FALSE(rotation.moves_on(false, 100));
  EXPECT_FALSE(rotation.moves_on(false, 5'099));
  EXPECT_TRUE(rotation.moves_on(false, 5'100));
  EXPECT_EQ(rotation.current(), "tcp://b:2");
  EXPECT_FALSE(rotation.moves_on(false, 10'099)) << "the next one gets its time too";
  EXPECT_TRUE(rotation.moves_on(false, 10'100));
  EXPECT_EQ(rotation.current(), "tcp://a:1");
}

TEST(EndpointRotation, AnAddressThatIsNamedTwiceCountsOnce) {
  EndpointRotation rotation("tcp://b:2,tcp://a:1,tcp://b:2,tcp://a:1", 2'000);
  EXPECT_EQ(rotation.all(), (std::vector<std::string>{"tcp://b:2", "tcp://a:1"}));
  EXPECT_FALSE(rotation.moves_on(false, 0));
  EXPECT_TRUE(rotation.moves_on(false, 2'000)) << "its own patience";
}

TEST(EndpointRotation, AConnectionStartsTheTimeAnew) {
  EndpointRotation rotation("tcp://a:1,tcp://b:2");
  EXPECT_FALSE(rotation.moves_on(false, 0));
  EXPECT_FALSE(rotation.moves_on(true, 4'000));
  EXPECT_FALSE(rotation.moves_on(false, 6'000));
  EXPECT_FALSE(rotation.moves_on(false, 10'999));
  EXPECT_TRUE(rotation.moves_on(false, 11'000));
}

}  // namespace
}  // namespace tunefleet
