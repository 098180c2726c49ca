#include "storage/safetensors_header.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

namespace tunefleet::storage {

namespace {

using nlohmann::json;

/// Follows the header's events. Where we are is `level_` (open objects) and `field_`:
///   {"__metadata__": {key: text}, name: {"dtype": text, "shape": [n…], "data_offsets": [b, e]}}
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  SafetensorsHeader header;
  std::optional<Error> error;

  bool null() override { return refuse("a null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return refuse("a fraction"); }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_ || value > static_cast<uint64_t>(INT64_MAX)) return refuse("a number");
    if (field_ == "shape" && numbers_.size() == kMaxDimensions) return refuse("a dimension");
    if (field_ == "data_offsets" && numbers_.size() == 2) return refuse("a third offset");
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& text) override {
    if (level_ == 2 && in_metadata_) {
      header.metadata[field_] = text;
      return true;
    }
    if (level_ != 2 || field_ != "dtype") return refuse("a text");
    const auto dtype = dtype_from_name(text);
    if (!dtype) {
      error = Error{ErrorCode::kInvalidArgument,
                    fmt::format("unsupported dtype in a safetensors file: {}, tensor {}", text,
                                tensor_.spec.name)};
      return false;
    }
    tensor_.spec.dtype = *dtype;
    return true;
  }

  bool start_object(std::size_t) override {
    if (in_array_ || level_ > 1) return refuse("an object");
    ++level_;
    seen_fields_.clear();
    return true;
  }

  bool key(string_t& name) override {
    if (level_ == 1) return begin_entry(name);
    if (!seen_fields_.insert(name).second) return refuse_key("duplicate key", name);
    if (!in_metadata_ && name != "dtype" && name != "shape" && name != "data_offsets") {
      return refuse_key("unknown key", name);
    }
    field_ = name;
    return true;
  }

  bool end_object() override {
    if (level_-- == 1) return true;
    if (std::exchange(in_metadata_, false)) return true;
    if (seen_fields_.size() != 3) return refuse("an entry without dtype, shape and data_offsets");
    header.tensors.push_back(std::move(tensor_));
    return true;
  }

  bool start_array(std::size_t) override {
    if (level_ != 2 || in_metadata_ || in_array_ || field_ == "dtype") return refuse("an array");
    in_array_ = true;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    if (field_ == "shape") {
      tensor_.spec.shape.assign(numbers_.begin(), numbers_.end());
      return true;
    }
    if (numbers_.size() != 2) return refuse("data_offsets without two numbers");
    tensor_.begin = numbers_[0];
    tensor_.end = numbers_[1];
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    if (!error) {
      error =
          Error{ErrorCode::kDataLoss,
                fmt::format("safetensors header is not valid JSON in UTF-8: byte {}", position)};
    }
    return false;
  }

 private:
  static constexpr size_t kMaxDimensions = 64;

  bool begin_entry(const std::string& name) {
    if (!seen_names_.insert(name).second) return refuse_key("duplicate tensor name", name);
    if (seen_names_.size() > SafetensorsFile::kMaxTensors + 1) {
      return refuse_key("too many tensors",
                        fmt::format("more than {}", SafetensorsFile::kMaxTensors));
    }
    in_metadata_ = name == "__metadata__";
    tensor_ = HeaderTensor{};
    tensor_.spec.name = name;
    return true;
  }

  bool refuse(std::string_view what) {
    error = Error{ErrorCode::kDataLoss,
                  fmt::format("safetensors header has something out of place: {}, at {} {}", what,
                              tensor_.spec.name.empty() ? "the top" : tensor_.spec.name, field_)};
    return false;
  }
  bool refuse_key(std::string_view what, std::string_view name) {
    error = Error{ErrorCode::kDataLoss,
                  fmt::format("safetensors header has a bad key: {}, {}", what, name)};
    return false;
  }

  int level_ = 0;  ///< Open objects: 1 the header, 2 a tensor or the metadata.
  bool in_metadata_ = false;
  bool in_array_ = false;
  std::string field_;  ///< The last key at level 2.
  HeaderTensor tensor_;
  std::vector<uint64_t> numbers_;
  std::unordered_set<std::string> seen_names_;
  std::unordered_set<std::string> seen_fields_;
};

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, std::string_view file) {
  if (text.empty() || text.front() != '{') {
    return fail(ErrorCode::kDataLoss,
                fmt::format("safetensors header does not begin with '{{': {}", file));
  }
  HeaderReader reader;
  const bool ok = json::sax_parse(text.begin(), text.end(), &reader);
  if (ok && !reader.error) return std::move(reader.header);
  const Error error =
      reader.error.value_or(Error{ErrorCode::kDataLoss, "safetensors header is not a JSON object"});
  return fail(error.code, fmt::format("{}, {}", error.message, file));
}

Result<std::string> make_safetensors_header(const std::vector<TensorSpec>& order,
                                            const SafetensorsMetadata& metadata) {
  std::string text = "{";
  const char* separator = "";
  try {
    if (!metadata.empty()) {
      text += "\"__metadata__\":" + json(metadata).dump();
      separator = ",";
    }
    uint64_t begin = 0;
    for (const TensorSpec& spec : order) {
      const auto bytes = tensor_bytes(spec);
      if (!bytes) return fail(bytes.error());
      text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                          separator, json(spec.name).dump(), dtype_name(spec.dtype),
                          json(spec.shape).dump(), begin, begin + *bytes);
      begin += *bytes;
      separator = ",";
    }
  } catch (const json::exception&) {  // dump() of a text that is not UTF-8
    return fail(ErrorCode::kInvalidArgument, "tensor name or metadata is not UTF-8");
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace tunefleet::storage
