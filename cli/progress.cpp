#include "cli/progress.hpp"

#include <cerrno>
#include <iostream>

#include <unistd.h>

#include "messages/text.hpp"

namespace caged::cli {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

progress::progress(std::string what, bool quiet)
    : what_{std::move(what)},
      shown_{!quiet && ::isatty(STDERR_FILENO) == 1},
      begun_{steady_clock::now()},
      next_{begun_} {}

progress::~progress() {
  if (!drawn_)
    return;
  draw();
  std::cerr << "\n";
}

void progress::add(std::size_t bytes) {
  bytes_ += bytes;
  if (!shown_ || steady_clock::now() < next_)
    return;
  draw();
  next_ = steady_clock::now() + 200ms;
}

void progress::draw() {
  constexpr std::size_t longest = 40;
  constexpr const char* to_line_end = "\x1b[K"; // ECMA-48, EL
  std::chrono::duration<double> took = steady_clock::now() - begun_;
  auto total = static_cast<double>(bytes_);
  std::cerr << "\r" << escape_text(what_, longest) << "  "
            << format_bytes(total);
  if (took > 100ms)
    std::cerr << "  " << format_bytes(total / took.count()) << "/s";
  std::cerr << to_line_end << std::flush;
  drawn_ = true;
}

ssize_t counted_sink::write(std::string_view bytes) {
  auto n = to_.write(bytes);
  if (n > 0)
    by_.add(static_cast<std::size_t>(n));
  return n;
}

ssize_t counted_source::read(char* to, std::size_t most) {
  auto n = from_.read(to, most);
  if (n > 0) {
    auto error = errno;
    by_.add(static_cast<std::size_t>(n));
    errno = error;
  }
  return n;
}

} // namespace caged::cli
