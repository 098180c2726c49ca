#include "worker/data/byte_alphabet.h"

#include <array>

#include "worker/data/utf8.h"

namespace tunefleet::data {
namespace {

constexpr int kCharacters = 0x100 + 68;

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int, kCharacters> byte{};  ///< -1: not of the alphabet.
};

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = stands_for_itself(byte) ? byte : next++;
    alphabet.character[static_cast<size_t>(byte)] = static_cast<char32_t>(character);
    alphabet.byte[static_cast<size_t>(character)] = byte;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string spell_bytes(std::string_view bytes) {
  std::string spelling;
  for (const char byte : bytes) {
    append_code_point(kAlphabet.character[static_cast<unsigned char>(byte)], spelling);
  }
  return spelling;
}

std::optional<std::string> unspell_bytes(std::string_view spelling) {
  std::string bytes;
  for (size_t at = 0; at < spelling.size();) {
    const CodePoint character = code_point_at(spelling, at);
    if (character.value >= kCharacters || kAlphabet.byte[character.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[character.value]));
    at += character.bytes;
  }
  return bytes;
}

}  // namespace tunefleet::data
