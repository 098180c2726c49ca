#include "worker/agent/slot_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/agent/leader_fence.h"

namespace tunefleet::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const GangId kGang{"j", 1};
const GangId kOther{"k", 1};

TEST(SlotLedger, KeepsSlotsUntilTheyAreReleased) {
  SlotLedger ledger(4);
  ASSERT_TRUE(ledger.reserve(kGang, 3, 0, 1000));
  EXPECT_EQ(ledger.used(), 3);
  EXPECT_EQ(ledger.free(), 1);
  EXPECT_EQ(ledger.entries().at(kGang).use, SlotUse::kReserved);
  EXPECT_TRUE(ledger.release(kGang));
  EXPECT_EQ(ledger.free(), 4);
  EXPECT_FALSE(ledger.release(kGang)) << "idempotent";
}

TEST(SlotLedger, RefusesWithTheNumbers) {
  SlotLedger ledger(4);
  ASSERT_TRUE(ledger.reserve(kGang, 3, 0, 1000));
  const auto refused = ledger.reserve(kOther, 2, 0, 1000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("2 needed, 1 free"));
  EXPECT_FALSE(ledger.lead(kOther, 2));
  EXPECT_EQ(ledger.reserve(kOther, 0, 0, 1000).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(ledger.used(), 3);
}

TEST(SlotLedger, ReservingAgainStartsTheTimeAnew) {
  SlotLedger ledger(2);
  ASSERT_TRUE(ledger.reserve(kGang, 2, 0, 1000));
  ASSERT_TRUE(ledger.reserve(kGang, 2, 900, 1000)) << "its own slots are no obstacle";
  EXPECT_EQ(ledger.used(), 2);
  EXPECT_THAT(ledger.expire(1899), IsEmpty());
  EXPECT_THAT(ledger.expire(1900), ElementsAre(kGang));
  EXPECT_EQ(ledger.used(), 0);
}

TEST(SlotLedger, WhatRunsDoesNotExpireAndIsNotReleased) {
  SlotLedger ledger(2);
  ASSERT_TRUE(ledger.reserve(kGang, 1, 0, 10));
  ASSERT_TRUE(ledger.reserve(kOther, 1, 0, 10));
  ASSERT_TRUE(ledger.lead(kGang, 1));
  ASSERT_TRUE(ledger.join(kOther));
  EXPECT_THAT(ledger.expire(1'000'000), IsEmpty());
  EXPECT_FALSE(ledger.release(kGang));
  EXPECT_FALSE(ledger.release(kOther));
  EXPECT_TRUE(ledger.reserve(kGang, 1, 0, 10)) << "a late duplicate";
  EXPECT_EQ(ledger.entries().at(kGang).use, SlotUse::kLead);
  EXPECT_EQ(ledger.entries().at(kOther).use, SlotUse::kMember);
  ledger.end(kGang);
  ledger.end(kOther);
  EXPECT_EQ(ledger.used(), 0);
}

TEST(SlotLedger, OnlyAReservationMakesAMember) {
  SlotLedger ledger(2);
  EXPECT_EQ(ledger.join(kGang).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(ledger.reserve(kGang, 1, 0, 10));
  EXPECT_FALSE(ledger.join({"j", 2})) << "another attempt's";
  EXPECT_TRUE(ledger.join(kGang));
  EXPECT_FALSE(ledger.join(kGang)) << "once";
}

TEST(SlotLedger, ALeadNeedsNoReservation) {
  SlotLedger ledger(2);
  EXPECT_TRUE(ledger.lead(kGang, 2));
  EXPECT_EQ(ledger.used(), 2);
}

TEST(SlotLedger, ANewerAttemptTakesTheOldersReservation) {
  SlotLedger ledger(2);
  ASSERT_TRUE(ledger.reserve(kGang, 2, 0, 1000));
  ASSERT_TRUE(ledger.reserve({"j", 2}, 2, 0, 1000));
  EXPECT_FALSE(ledger.entries().contains(kGang));
  EXPECT_FALSE(ledger.reserve(kGang, 2, 0, 1000)) << "but not the other way round";
}

TEST(LeaderFence, LetsNoOlderLeaderPass) {
  LeaderFence fence;
  EXPECT_TRUE(fence.lets_pass(3));
  EXPECT_TRUE(fence.lets_pass(3));
  EXPECT_FALSE(fence.lets_pass(2));
  EXPECT_TRUE(fence.lets_pass(4));
  EXPECT_FALSE(fence.lets_pass(3));
  EXPECT_EQ(fence.newest(), 4U);
}

TEST(LeaderFence, LetsPassWhoUsesNoGenerations) {
  LeaderFence fence;
  EXPECT_TRUE(fence.lets_pass(0));
  EXPECT_TRUE(fence.lets_pass(5));
  EXPECT_TRUE(fence.lets_pass(0));
  EXPECT_FALSE(fence.lets_pass(4)) << "and forgets nothing by it";
}

}  // namespace
}  // namespace tunefleet::agent
