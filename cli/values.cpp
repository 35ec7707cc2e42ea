#include "cli/values.hpp"

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "messages/limits.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// A whole number and its unit in lower case; false when it is neither.
bool split_number(std::string_view text, std::uint64_t& number,
                  std::string& unit) {
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{})
    return false;
  unit.clear();
  for (const char* c = end; c != text.data() + text.size(); ++c)
    unit.push_back(*c >= 'A' && *c <= 'Z' ? static_cast<char>(*c - 'A' + 'a')
                                          : *c);
  return true;
}

constexpr std::uint64_t mb_per_gb = 1024;
/// Far above every limit, far below an overflow.
constexpr std::uint64_t absurd = 1'000'000'000;

} // namespace

result<std::uint64_t> parse_memory_mb(std::string_view text) {
  std::uint64_t number = 0;
  std::string unit;
  if (split_number(text, number, unit) && number < absurd) {
    if (unit.empty() || unit == "m" || unit == "mb")
      return number;
    if (unit == "g" || unit == "gb")
      return number * mb_per_gb;
  }
  return fail(ec::bad_request, "memory " + caged::quoted(text) + " is no size",
              "write MB as 512 or 512m, GB as 1g ("
                  + std::to_string(limits::memory_mb_min) + " to "
                  + std::to_string(limits::memory_mb_max) + " MB)");
}

result<std::uint64_t> parse_disk_gb(std::string_view text) {
  std::uint64_t number = 0;
  std::string unit;
  if (split_number(text, number, unit) && number < absurd
      && (unit.empty() || unit == "g" || unit == "gb"))
    return number;
  return fail(ec::bad_request, "disk " + caged::quoted(text) + " is no size",
              "write GB as 5 or 5g (" + std::to_string(limits::disk_gb_min)
                  + " to " + std::to_string(limits::disk_gb_max) + " GB)");
}

result<void> add_env(std::map<std::string, std::string>& to,
                     const std::string& text) {
  auto equals = text.find('=');
  auto key = text.substr(0, equals);
  if (key.empty())
    return fail(ec::bad_request,
                caged::quoted(text) + " is no environment variable",
                "write KEY=VALUE, or KEY to pass on your own");
  if (equals != std::string::npos)
    to[key] = text.substr(equals + 1);
  else if (const char* own = std::getenv(key.c_str()))
    to[key] = own;
  return {};
}

result<void> add_env_file(std::map<std::string, std::string>& to,
                          const std::string& path) {
  auto text = read_text_file(path, limits::env_bytes_max);
  if (!text)
    return tl::unexpected<failure>(text.error());
  std::istringstream lines{*text};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r')
      line.pop_back();
    if (line.empty() || line[0] == '#')
      continue;
    if (auto added = add_env(to, line); !added)
      return fail(ec::bad_request,
                  "line " + std::to_string(number) + " of "
                      + caged::quoted(path) + " is no environment variable",
                  "write KEY=VALUE, one a line");
  }
  return {};
}

result<std::map<std::string, std::string>>
collect_env(const std::vector<std::string>& files,
            const std::vector<std::string>& values) {
  std::map<std::string, std::string> out;
  for (const auto& file : files)
    if (auto added = add_env_file(out, file); !added)
      return tl::unexpected<failure>(added.error());
  for (const auto& value : values)
    if (auto added = add_env(out, value); !added)
      return tl::unexpected<failure>(added.error());
  return out;
}

result<std::map<std::string, std::string>>
parse_labels(const std::vector<std::string>& values) {
  std::map<std::string, std::string> out;
  for (const auto& value : values) {
    auto equals = value.find('=');
    if (equals == 0 || equals == std::string::npos)
      return fail(ec::bad_request,
                  "the label " + caged::quoted(value) + " is not KEY=VALUE");
    out[value.substr(0, equals)] = value.substr(equals + 1);
  }
  return out;
}

result<std::string> read_text_file(const std::string& path, std::size_t max) {
  std::ifstream in{path, std::ios::binary};
  if (!in)
    return fail(ec::bad_request,
                "the file " + caged::quoted(path)
                    + " cannot be read: " + std::strerror(errno));
  std::string out(max + 1, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  out.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad() || (out.empty() && !in.eof()))
    return fail(ec::bad_request,
                "the file " + caged::quoted(path) + " cannot be read");
  if (out.size() > max)
    return fail(ec::too_large, "the file " + caged::quoted(path)
                                   + " is too long; the most is "
                                   + std::to_string(max) + " bytes");
  return out;
}

} // namespace caged::cli
