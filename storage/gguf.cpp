#include "storage/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

namespace tunefleet::storage {

static_assert(std::endian::native == std::endian::little,
              "the format's bytes are used as they are");

namespace {

/// The numbers of metadata types in the file.
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int kMaxArrayDepth = 4;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxNameBytes = 65'535;

/// Reads the header front to back; never past the end. Throws nothing: each read says whether it
/// went well, and the first error stays.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  template <typename T>
  bool read(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (remaining() < sizeof(T)) return cut_short(sizeof(T));
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  bool read_text(std::string_view& text) {
    uint64_t size = 0;
    if (!read(size)) return false;
    if (size > remaining()) return cut_short(size);
    text = {reinterpret_cast<const char*>(bytes_.data()) + position_, size};
    position_ += size;
    return true;
  }

  bool read_value(uint32_t type, GgufValue& out, int depth = 0);

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  bool refuse(ErrorCode code, std::string message) {
    error_ = Error{code, fmt::format("{}, {}", message, file_)};
    return false;
  }
  bool cut_short(uint64_t wanted) {
    return refuse(ErrorCode::kDataLoss,
                  fmt::format("GGUF file is cut short: {} bytes wanted at {}, {} left", wanted,
                              position_, remaining()));
  }
  const Error& error() const { return error_; }

 private:
  template <typename Stored, typename Kept>
  bool read_as(GgufValue& out) {
    Stored stored{};
    if (!read(stored)) return false;
    out.value = static_cast<Kept>(stored);
    return true;
  }
  bool read_array(GgufValue& out, int depth);

  std::span<const std::byte> bytes_;
  std::string file_;
  uint64_t position_ = 0;
  uint64_t array_elements_ = 0;  ///< Read so far, over all arrays.
  Error error_;
};

/// The least bytes one element of an array can take, to bound counts before anything is reserved.
uint64_t min_value_bytes(uint32_t type) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kBool:
      return 1;
    case ValueType::kUint16:
    case ValueType::kInt16:
      return 2;
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kFloat32:
      return 4;
    case ValueType::kArray:
      return 12;
    default:
      return 8;
  }
}

bool Cursor::read_array(GgufValue& out, int depth) {
  uint32_t type = 0;
  uint64_t count = 0;
  if (!read(type) || !read(count)) return false;
  if (depth >= kMaxArrayDepth) {
    return refuse(ErrorCode::kDataLoss, "GGUF arrays are nested too deeply");
  }
  if (count > remaining() / min_value_bytes(type)) return cut_short(count);
  array_elements_ += count;
  if (array_elements_ > GgufFile::kMaxArrayElements) {
    return refuse(ErrorCode::kDataLoss, fmt::format("GGUF arrays have too many elements: {} > {}",
                                                    array_elements_, GgufFile::kMaxArrayElements));
  }
  std::vector<GgufValue> elements(count);
  for (GgufValue& element : elements) {
    if (!read_value(type, element, depth + 1)) return false;
  }
  out.value = std::move(elements);
  return true;
}

bool Cursor::read_value(uint32_t type, GgufValue& out, int depth) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::kUint8:
      return read_as<uint8_t, uint64_t>(out);
    case ValueType::kInt8:
      return read_as<int8_t, int64_t>(out);
    case ValueType::kUint16:
      return read_as<uint16_t, uint64_t>(out);
    case ValueType::kInt16:
      return read_as<int16_t, int64_t>(out);
    case ValueType::kUint32:
      return read_as<uint32_t, uint64_t>(out);
    case ValueType::kInt32:
      return read_as<int32_t, int64_t>(out);
    case ValueType::kFloat32:
      return read_as<float, double>(out);
    case ValueType::kBool:
      return read_as<uint8_t, bool>(out);
    case ValueType::kString: {
      std::string_view text;
      if (!read_text(text)) return false;
      out.value = text;
      return true;
    }
    case ValueType::kArray:
      return read_array(out, depth);
    case ValueType::kUint64:
      return read_as<uint64_t, uint64_t>(out);
    case ValueType::kInt64:
      return read_as<int64_t, int64_t>(out);
    case ValueType::kFloat64:
      return read_as<double, double>(out);
  }
  return refuse(ErrorCode::kDataLoss, fmt::format("GGUF metadata has an unknown type: {}", type));
}

struct FileHeader {
  uint32_t version = 0;
  uint64_t tensor_count = 0;
  uint64_t key_count = 0;
};

bool read_file_header(Cursor& cursor, FileHeader& header) {
  uint32_t magic = 0;
  if (!cursor.read(magic) || !cursor.read(header.version)) return false;
  if (magic != kMagic) return cursor.refuse(ErrorCode::kDataLoss, "not a GGUF file");
  if (header.version == __builtin_bswap32(2) || header.version == __builtin_bswap32(3)) {
    return cursor.refuse(ErrorCode::kInvalidArgument,
                         "GGUF file is big-endian (convert it with gguf-convert-endian)");
  }
  if (header.version != 2 && header.version != 3) {
    return cursor.refuse(
        ErrorCode::kInvalidArgument,
        fmt::format("GGUF version is not read here (2 and 3 are): {}", header.version));
  }
  if (!cursor.read(header.tensor_count) || !cursor.read(header.key_count)) return false;
  if (header.tensor_count > GgufFile::kMaxTensors || header.key_count > GgufFile::kMaxKeys) {
    return cursor.refuse(ErrorCode::kDataLoss,
                         fmt::format("GGUF file claims too many entries: {} tensors, {} keys",
                                     header.tensor_count, header.key_count));
  }
  return true;
}

bool read_metadata(Cursor& cursor, uint64_t count,
                   std::unordered_map<std::string_view, GgufValue>& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view key;
    uint32_t type = 0;
    GgufValue value;
    if (!cursor.read_text(key) || !cursor.read(type) || !cursor.read_value(type, value))
      return false;
    if (key.size() > kMaxNameBytes)
      return cursor.refuse(ErrorCode::kDataLoss, "GGUF key is too long");
    if (!metadata.emplace(key, std::move(value)).second) {
      return cursor.refuse(ErrorCode::kDataLoss, fmt::format("GGUF key stands twice: {}", key));
    }
  }
  return true;
}

/// A tensor's description and where its data begins, counted from the start of all data.
struct TensorInfo {
  GgufTensor tensor;
  uint64_t offset = 0;
};

/// Sets `tensor.bytes`; false when a row is no whole number of blocks or the product overflows.
bool compute_bytes(GgufTensor& tensor, const GgmlTypeTraits& traits) {
  uint64_t elements = 1;
  for (const int64_t dimension : tensor.shape) {
    if (dimension < 0 ||
        __builtin_mul_overflow(elements, static_cast<uint64_t>(dimension), &elements) ||
        elements > static_cast<uint64_t>(INT64_MAX)) {
      return false;
    }
  }
  const uint64_t row = tensor.shape.empty() ? 1 : static_cast<uint64_t>(tensor.shape.back());
  if (row % traits.block_elements != 0) return false;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements / traits.block_elements, traits.block_bytes, &bytes))
    return false;
  tensor.bytes = bytes;
  return true;
}

bool read_tensor_info(Cursor& cursor, TensorInfo& info) {
  std::string_view name;
  uint32_t dimensions = 0;
  if (!cursor.read_text(name) || !cursor.read(dimensions)) return false;
  if (name.size() > kMaxNameBytes || dimensions > kMaxDimensions) {
    return cursor.refuse(ErrorCode::kDataLoss,
                         fmt::format("GGUF tensor's name or dimensions are too many: {} bytes, {}",
                                     name.size(), dimensions));
  }
  info.tensor.name = name;
  info.tensor.shape.resize(dimensions);
  for (uint32_t i = 0; i < dimensions; ++i) {
    if (!cursor.read(info.tensor.shape[dimensions - 1 - i]))
      return false;  // stored innermost first
  }
  if (!cursor.read(info.tensor.type) || !cursor.read(info.offset)) return false;
  const auto traits = ggml_type_traits(info.tensor.type);
  if (!traits) {
    return cursor.refuse(
        ErrorCode::kInvalidArgument,
        fmt::format("GGUF tensor has an unknown type: {}, {}", name, info.tensor.type));
  }
  if (!compute_bytes(info.tensor, *traits)) {
    return cursor.refuse(ErrorCode::kDataLoss,
                         fmt::format("GGUF tensor's shape does not fit its type: {}, [{}], {}",
                                     name, fmt::join(info.tensor.shape, ", "), traits->name));
  }
  return true;
}

uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

bool read_alignment(Cursor& cursor, const std::unordered_map<std::string_view, GgufValue>& metadata,
                    uint64_t& alignment) {
  alignment = kDefaultAlignment;
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return true;
  alignment = found->second.as_unsigned().value_or(0);
  if (std::has_single_bit(alignment) && alignment >= 8 && alignment <= (1 << 20)) return true;
  return cursor.refuse(ErrorCode::kDataLoss,
                       fmt::format("GGUF alignment is not a power of two from 8: {}", alignment));
}

/// Points the tensors at their bytes and checks that they are inside the file, aligned, apart.
bool place_tensors(Cursor& cursor, std::span<const std::byte> data, uint64_t alignment,
                   std::vector<TensorInfo>& infos) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (TensorInfo& info : infos) {
    GgufTensor& tensor = info.tensor;
    if (info.offset % alignment != 0 || info.offset > data.size() ||
        tensor.bytes > data.size() - info.offset) {
      return cursor.refuse(
          ErrorCode::kDataLoss,
          fmt::format("GGUF tensor ends past the file or is not aligned: {}, {} bytes "
                      "at {} of {}",
                      tensor.name, tensor.bytes, info.offset, data.size()));
    }
    tensor.data = data.data() + info.offset;
    if (tensor.bytes > 0) ranges.emplace_back(info.offset, info.offset + tensor.bytes);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) {
      return cursor.refuse(
          ErrorCode::kDataLoss,
          fmt::format("GGUF tensors overlap: at byte {} of the data", ranges[i].first));
    }
  }
  return true;
}

}  // namespace

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto mapped = MappedFile::open(path);
  if (!mapped) return fail(mapped.error());
  GgufFile file;
  file.file_ = std::move(*mapped);
  const auto bytes = file.file_.bytes();
  Cursor cursor(bytes, path.string());

  FileHeader header;
  uint64_t alignment = 0;
  if (!read_file_header(cursor, header) ||
      !read_metadata(cursor, header.key_count, file.metadata_) ||
      !read_alignment(cursor, file.metadata_, alignment)) {
    return fail(cursor.error());
  }
  file.version_ = header.version;
  std::vector<TensorInfo> infos;
  for (uint64_t i = 0; i < header.tensor_count; ++i) {
    if (!read_tensor_info(cursor, infos.emplace_back())) return fail(cursor.error());
  }
  const uint64_t data_begin =
      std::min<uint64_t>(align_up(cursor.position(), alignment), bytes.size());
  if (!place_tensors(cursor, bytes.subspan(data_begin), alignment, infos))
    return fail(cursor.error());

  file.tensors_.reserve(infos.size());
  for (TensorInfo& info : infos) {
    file.tensors_.push_back(std::move(info.tensor));
    const std::string_view name = file.tensors_.back().name;
    if (!file.tensor_index_.emplace(name, file.tensors_.size() - 1).second) {
      return fail(ErrorCode::kDataLoss,
                  fmt::format("GGUF tensor name stands twice: {}, {}", name, path.string()));
    }
  }
  return file;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace tunefleet::storage
