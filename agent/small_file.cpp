#include "agent/small_file.hpp"

#include <charconv>

#include <fcntl.h>

#include "agent/unique_fd.hpp"

namespace caged::agent {

std::string read_small(const std::string& path, std::size_t max) {
  std::string out;
  unique_fd fd{
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (!fd)
    return out;
  char buffer[4096];
  while (out.size() < max) {
    auto got =
        ::read(fd.get(), buffer, std::min(sizeof buffer, max - out.size()));
    if (got <= 0)
      break;
    out.append(buffer, static_cast<std::size_t>(got));
  }
  return out;
}

std::optional<std::uint64_t> leading_number(std::string_view text) {
  auto at = text.find_first_not_of(" \t");
  if (at == std::string_view::npos)
    return std::nullopt;
  std::uint64_t value = 0;
  auto [end, error] =
      std::from_chars(text.data() + at, text.data() + text.size(), value);
  if (error != std::errc{})
    return std::nullopt;
  return value;
}

std::optional<std::uint64_t> keyed_number(std::string_view text,
                                          std::string_view key) {
  while (!text.empty()) {
    auto end = text.find('\n');
    auto line = text.substr(0, end);
    if (line.size() > key.size() && line.substr(0, key.size()) == key
        && (line[key.size()] == ' ' || line[key.size()] == '\t'
            || line[key.size()] == ':'))
      return leading_number(line.substr(key.size() + 1));
    if (end == std::string_view::npos)
      break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

} // namespace caged::agent
