#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tunefleet::coordinator {

/// "45s", "3m12s", "2h05m", "3d4h": two units at most.
std::string duration_text(double seconds);
/// Four significant characters: "950", "1.2k", "31M".
std::string compact_number(double value);
/// "1,234,567".
std::string grouped_number(int64_t value);
/// "512 B", "3.4 MiB".
std::string size_text(uint64_t bytes);

/// Characters as a terminal counts them: code points. Wide ones (CJK) count as one, a table of them
/// is skewed.
size_t display_width(std::string_view text);
/// The first `width` characters, the last of them "…" when something was cut.
std::string cut_to_width(std::string_view text, size_t width);
/// What a service sends must not steer the terminal: control characters become "?", line ends a
/// space.
std::string printable(std::string_view text);

/// Columns with two blanks between them, each as wide as its widest cell; the first row is the
/// heading. No blanks at line ends. A row may be shorter than the heading.
std::string format_table(const std::vector<std::vector<std::string>>& rows);
/// The same in lines of at most `width` characters: the last column goes on below itself. When the
/// other columns leave it less than a third of the width, it has that third, and lines are longer.
std::string format_table(const std::vector<std::vector<std::string>>& rows, size_t width);
/// Lines of at most `width` characters, broken at blanks; a longer word stands alone.
std::vector<std::string> wrapped(std::string_view text, size_t width);

}  // namespace tunefleet::coordinator
