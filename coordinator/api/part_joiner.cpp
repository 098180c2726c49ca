#include "coordinator/api/part_joiner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string_view>

#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

constexpr size_t kPiece = 1 << 20;

/// An MD5 under way.
class Md5 {
 public:
  Md5() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    require(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_md5(), nullptr) == 1);
  }
  void update(std::string_view text) {
    require(EVP_DigestUpdate(context_.get(), text.data(), text.size()) == 1);
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    require(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  static void require(bool good) {
    if (!good) throw std::runtime_error("MD5 is not offered by this OpenSSL library");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

Status copy_part(const std::filesystem::path& part, FileUpload& file, Md5& md5,
                 std::string& buffer) {
  const storage::FileDescriptor fd(::open(part.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return storage::fail_os("cannot open the part", part, errno);
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return storage::fail_os("cannot read the part", part, errno);
    if (count == 0) return {};
    const std::string_view piece(buffer.data(), static_cast<size_t>(count));
    md5.update(piece);
    if (const auto written = file.write(piece); !written) return written;
  }
}

}  // namespace

Result<std::string> join_parts(const std::vector<std::filesystem::path>& parts, FileUpload& file) {
  Md5 md5;
  std::string buffer(kPiece, '\0');
  for (const auto& part : parts) {
    if (const auto copied = copy_part(part, file, md5, buffer); !copied) {
      return fail(copied.error());
    }
  }
  return md5.hex();
}

}  // namespace tunefleet::coordinator
