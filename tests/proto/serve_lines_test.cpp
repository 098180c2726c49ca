#include "proto/serve_lines.h"

#include <gtest/gtest.h>

namespace tunefleet {
namespace {

TEST(ServeLinesTest, OrdersReadBackAsTheyWere) {
  const ServeOrder order(ChatOrder{.id = 7,
                                   .adapter = "/a b/\"c\"",
                                   .messages = {{"system", "be\nbrief", {}}, {"user", "ü 猫", {}}},
                                   .max_tokens = 5,
                                   .temperature = 0.25,
                                   .top_p = 0.5,
                                   .top_k = 3,
                                   .seed = UINT64_MAX,
                                   .stop = {"\n\n", "x"}});
  EXPECT_EQ(parse_serve_order(to_line(order)), order);
  EXPECT_EQ(parse_serve_order(to_line(ServeOrder(ChatCancel{3}))), ServeOrder(ChatCancel{3}));
}

TEST(ServeLinesTest, RepliesReadBackAsTheyWere) {
  for (const ServeReply& reply :
       {ServeReply(ServerReady{512}), ServeReply(ChatText{1, "a\n\"b\""}),
        ServeReply(ChatEnd{1, "length", 12, 34}),
        ServeReply(ChatFailed{1, ErrorCode::kResourceExhausted, "too long"})}) {
    const std::string line = to_line(reply);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_EQ(parse_serve_reply(line), reply);
  }
}

TEST(ServeLinesTest, BytesThatAreNoTextDoNotBreakALine) {
  const auto read = parse_serve_reply(to_line(ServeReply(ChatText{1, "a\xff"})));
  ASSERT_TRUE(read);
  EXPECT_EQ(std::get<ChatText>(*read).text, "a\xEF\xBF\xBD");
}

TEST(ServeLinesTest, OtherLinesAreErrors) {
  for (const char* line :
       {"", "{", "[]", "{}", "{\"text\":{}}", "{\"text\":1}", "{\"other\":{\"id\":1}}",
        "{\"ready\":{},\"end\":{}}", "{\"ready\":{\"context_length\":\"x\"}}"}) {
    const auto read = parse_serve_reply(line);
    ASSERT_FALSE(read) << line;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(parse_serve_order(line)) << line;
  }
}

}  // namespace
}  // namespace tunefleet
