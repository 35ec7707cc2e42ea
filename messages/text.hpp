#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "messages/error.hpp"

namespace caged {

/// Control characters, DEL, C1 controls and invalid UTF-8 as \xNN, so that
/// text from a sandbox can reach a terminal or a log. At most `max` bytes of
/// the result, "..." behind what was cut.
std::string escape_text(std::string_view text, std::size_t max = 512);

/// Length of the valid UTF-8 sequence at `at`, 0 when there is none
/// (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
std::size_t utf8_sequence(std::string_view text, std::size_t at,
                          std::uint32_t& point) noexcept;

/// "5s", "500ms", "1m", "2h" or "0". Error: bad_request, whose message says
/// the accepted form.
result<std::chrono::milliseconds> parse_duration(std::string_view text);

/// The shortest form that parse_duration reads back: "5s", "1500ms".
std::string format_duration(std::chrono::milliseconds value);

/// RFC 4648 with padding.
std::string base64_encode(std::string_view bytes);
/// The same, behind what is there: needs no second copy.
void base64_append(std::string& out, std::string_view bytes);
/// Error: bad_request.
result<std::string> base64_decode(std::string_view text);

/// A random UUID, version 4, in its 36-character form (RFC 9562), from
/// getrandom(2).
std::string make_uuid();

/// n random characters of [a-z0-9] from getrandom(2).
std::string random_name(std::size_t n);

/// Whether text is a UUID in its 36-character form, lower case.
bool is_uuid(std::string_view text) noexcept;

/// Like "'a b'": quotes for messages, with control characters escaped.
std::string quoted(std::string_view text);

/// "512 MB", "1.5 GB": for people. bytes.
std::string format_bytes(double bytes);

/// The candidate that needs the fewest letters changed, added or left out
/// (Levenshtein); the first of several. `candidates` is not empty.
std::string nearest(const std::string& word,
                    const std::vector<std::string>& candidates);

/// Number of a signal from a number, 1 to 64, or a name with or without SIG, as
/// kill(1) takes it. Error: bad_request.
result<int> parse_signal(const std::string& text);

/// Wall clock, milliseconds since 1970.
std::int64_t wall_clock_ms();

} // namespace caged
