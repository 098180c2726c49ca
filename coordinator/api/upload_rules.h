#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/api/upload_store.h"
#include "proto/result.h"
#include "storage/file_stamp.h"

namespace tunefleet::coordinator {

/// What is known of one upload; its parts' bytes are on the disk. A value: no clock, no file.
struct UploadEntry {
  ChunkedUpload upload{};
  std::map<std::string, int64_t> parts{};  ///< Id and bytes.
  int64_t arriving_bytes = 0;              ///< Of parts that this process is receiving.
  bool completing = false;                 ///< A thread of this process is at complete().
  storage::FileStamp stamp{};              ///< Of the record that `upload` was read from.

  int64_t held_bytes() const;  ///< Of the parts, and of those still arriving.
};

/// kResourceExhausted when the owner's pending uploads and `bytes` more are beyond one owner's
/// share.
Status check_share(const std::map<std::string, UploadEntry>& entries, const std::string& owner,
                   int64_t bytes);
/// Counts `bytes` more that arrive. kInvalidArgument when they are more than was promised, with
/// room for parts that were sent again because their reply was lost.
Status reserve_bytes(UploadEntry& entry, int64_t bytes);
/// kInvalidArgument unless each part is there, named once, and together they are as long as
/// promised.
Status check_parts(const UploadEntry& entry, const std::vector<std::string>& part_ids);
/// Tells one choice of parts from another.
std::string digest_of_parts(const std::vector<std::string>& part_ids);
/// The kConflict of an upload that is not pending any more.
tl::unexpected<Error> upload_ended(const ChunkedUpload& upload);

}  // namespace tunefleet::coordinator
