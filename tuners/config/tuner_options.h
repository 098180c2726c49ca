#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace tunefleet::tuners {

struct TunerSchema;

/// The options of any tuner: a value that holds one tuner's options struct and knows its schema.
/// Made implicitly from the struct, so that `Swift::prepare_model(model, LoraOptions{.r = 8})`
/// reads like the document. Immutable and cheap to copy. A struct takes part by having a
/// `static const TunerSchema& schema()`.
class TunerOptions {
 public:
  template <typename T>
  requires requires {
    { std::decay_t<T>::schema() } -> std::same_as<const TunerSchema&>;
  }
  // NOLINTNEXTLINE(google-explicit-constructor)
  TunerOptions(T&& options)
      : schema_(&std::decay_t<T>::schema()),
        value_(std::make_shared<const std::decay_t<T>>(std::forward<T>(options))) {}
  /// `value` is an options struct of that schema.
  TunerOptions(const TunerSchema& schema, std::shared_ptr<const void> value)
      : schema_(&schema), value_(std::move(value)) {}

  const TunerSchema& schema() const { return *schema_; }
  const void* data() const { return value_.get(); }
  /// Null when these are another tuner's options.
  template <typename T>
  const T* get_if() const {
    return &T::schema() == schema_ ? static_cast<const T*>(value_.get()) : nullptr;
  }
  /// Throws std::logic_error when these are another tuner's options.
  template <typename T>
  const T& as() const {
    if (const T* options = get_if<T>()) return *options;
    throw std::logic_error("these are the options of another tuner");
  }

 private:
  const TunerSchema* schema_;
  std::shared_ptr<const void> value_;
};

/// Whether they are of one tuner and equal in every option.
bool operator==(const TunerOptions& a, const TunerOptions& b);

}  // namespace tunefleet::tuners
