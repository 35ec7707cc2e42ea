#include "cli/terminal.hpp"

#include <csignal>
#include <cstdlib>

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace caged::cli {

namespace {

// Global because signal handlers have nothing else to reach it by.
termios saved;
volatile std::sig_atomic_t is_raw = 0;

/// tcsetattr is async-signal-safe (signal-safety(7)).
void restore() {
  if (is_raw) {
    is_raw = 0;
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
  }
}

void on_crash(int number) {
  restore();
  ::raise(number); // SA_RESETHAND: the default action follows
}

} // namespace

raw_terminal::raw_terminal() {
  if (::tcgetattr(STDIN_FILENO, &saved) != 0)
    return;
  static bool registered = false;
  if (!registered) {
    registered = true;
    std::atexit(restore);
    for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
      struct sigaction action {};
      action.sa_handler = on_crash;
      action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_NODEFER;
      ::sigaction(number, &action, nullptr);
    }
  }
  termios raw = saved;
  ::cfmakeraw(&raw);
  is_raw = 1;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

raw_terminal::~raw_terminal() {
  restore();
}

std::pair<std::uint16_t, std::uint16_t> terminal_size() {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0
      || size.ws_col == 0)
    return {std::uint16_t{24}, std::uint16_t{80}};
  return {size.ws_row, size.ws_col};
}

} // namespace caged::cli
