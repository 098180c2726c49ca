#include "worker/serve/order_inbox.h"

#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <thread>

namespace tunefleet::serve {
namespace {

ChatOrder order(int64_t id) {
  ChatOrder order;
  order.id = id;
  order.messages = {{.role = "user", .content = "hello", .loss = {}}};
  return order;
}

/// The inbox of a text that has ended.
struct Read {
  explicit Read(const std::string& text) : in(text) {}
  std::istringstream in;
  std::vector<std::string> malformed;
  OrderInbox inbox{in, [this](const std::string& reason) { malformed.push_back(reason); }};
};

TEST(OrderInboxTest, HandsOutWhatWasReadBeforeTheEnd) {
  Read read(to_line(ServeOrder(order(1))) + "\n" + to_line(ServeOrder(order(2))));
  EXPECT_EQ(read.inbox.next()->id, 1);
  EXPECT_EQ(read.inbox.next()->id, 2);
  EXPECT_FALSE(read.inbox.next());
}

TEST(OrderInboxTest, ACancelReachesAnOrderThatIsUnderWay) {
  Read read(to_line(ServeOrder(order(1))) + to_line(ServeOrder(order(2))) +
            to_line(ServeOrder(order(3))) + to_line(ServeOrder(ChatCancel{2})));
  EXPECT_EQ(read.inbox.next()->id, 1);
  EXPECT_FALSE(read.inbox.is_cancelled(1));
  EXPECT_EQ(read.inbox.next()->id, 2);
  for (int i = 0; i < 1000 && !read.inbox.is_cancelled(2); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(read.inbox.is_cancelled(2));
  EXPECT_EQ(read.inbox.next()->id, 3);
  EXPECT_FALSE(read.inbox.is_cancelled(3));
}

TEST(OrderInboxTest, ALineThatIsNoOrderIsToldAndLeftOut) {
  Read read("{oops\n{\"ask\":{}}\n[]\n{\"cancel\":{\"id\":\"x\"}}\n" +
            to_line(ServeOrder(order(5))));
  EXPECT_EQ(read.inbox.next()->id, 5);
  EXPECT_FALSE(read.inbox.next());
  EXPECT_EQ(read.malformed.size(), 4);
}

}  // namespace
}  // namespace tunefleet::serve
