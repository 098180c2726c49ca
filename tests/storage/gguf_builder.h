#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tunefleet::storage {

/// Writes small GGUF files, well-formed or not, as text.
class GgufBuilder {
 public:
  explicit GgufBuilder(uint32_t version = 3) : version_(version) {}

  template <typename T>
  GgufBuilder& number(std::string_view key, uint32_t type, T value) {
    begin_key(key, type);
    put(metadata_, value);
    return *this;
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) { return number(key, 4, value); }
  GgufBuilder& f32(std::string_view key, float value) { return number(key, 6, value); }
  GgufBuilder& boolean(std::string_view key, bool value) { return number<uint8_t>(key, 7, value); }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    begin_key(key, 8);
    put_text(metadata_, value);
    return *this;
  }
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values) {
    begin_array(key, 8, values.size());
    for (const auto& value : values) put_text(metadata_, value);
    return *this;
  }
  GgufBuilder& i32s(std::string_view key, const std::vector<int32_t>& values) {
    begin_array(key, 5, values.size());
    for (const int32_t value : values) put(metadata_, value);
    return *this;
  }
  /// Only the head of an array; what follows is up to the caller.
  GgufBuilder& begin_array(std::string_view key, uint32_t element_type, uint64_t count) {
    begin_key(key, 9);
    put(metadata_, element_type);
    put(metadata_, count);
    return *this;
  }
  GgufBuilder& raw_metadata(std::string_view bytes) {
    metadata_ += bytes;
    return *this;
  }

  /// `shape` is row-major; `offset` past the file's data when it is to be wrong.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& shape, uint32_t type,
                      std::string_view data, uint64_t offset = UINT64_MAX) {
    data_.resize((data_.size() + 31) / 32 * 32);
    put_text(infos_, name);
    put(infos_, static_cast<uint32_t>(shape.size()));
    for (auto dimension = shape.rbegin(); dimension != shape.rend(); ++dimension)
      put(infos_, *dimension);
    put(infos_, type);
    put(infos_, offset == UINT64_MAX ? static_cast<uint64_t>(data_.size()) : offset);
    data_ += data;
    ++tensor_count_;
    return *this;
  }
  GgufBuilder& floats(std::string_view name, const std::vector<uint64_t>& shape,
                      const std::vector<float>& values) {
    return tensor(name, shape, 0,
                  {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  std::string build() const {
    std::string file = "GGUF";
    put(file, version_);
    put(file, tensor_count_);
    put(file, key_count_);
    file += metadata_ + infos_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

 private:
  template <typename T>
  static void put(std::string& out, T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void put_text(std::string& out, std::string_view text) {
    put(out, static_cast<uint64_t>(text.size()));
    out += text;
  }
  void begin_key(std::string_view key, uint32_t type) {
    put_text(metadata_, key);
    put(metadata_, type);
    ++key_count_;
  }

  uint32_t version_;
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
  std::string metadata_;
  std::string infos_;
  std::string data_;
};

}  // namespace tunefleet::storage
