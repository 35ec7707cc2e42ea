#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dirent.h>

#include "messages/error.hpp"

namespace caged::agent {

/// Removes a tree in small steps, so that a million files do not keep the
/// agent from its heartbeat. By descriptor: never follows a link, and no depth
/// is too much.
class removal {
public:
  /// `path` is absolute and known to be a directory that may go.
  explicit removal(std::string path);
  ~removal();
  removal(const removal&) = delete;
  removal& operator=(const removal&) = delete;

  /// Works until `deadline`. True: it is over, see removed() and error().
  bool step(std::chrono::steady_clock::time_point deadline);
  std::uint64_t removed() const noexcept { return removed_; }
  const std::optional<failure>& error() const noexcept { return error_; }

private:
  struct level {
    DIR* dir;
    std::string name; ///< in the level above
  };
  void enter(int parent, const std::string& name);
  void leave();
  void stop(const std::string& name, int error);

  std::string path_;
  std::vector<level> levels_;
  std::uint64_t removed_ = 0;
  int repeats_ = 0; ///< passes over a directory that had not become empty
  bool done_ = false;
  std::optional<failure> error_;
};

} // namespace caged::agent
