#pragma once

#include <string>

#include "messages/error.hpp"

namespace caged::cli {

/// A directory of our own, next to where its contents will go, so that they
/// can be renamed into place and nothing half-written is ever seen there.
/// Removed with all that is left in it.
class staging {
public:
  /// Errors: not_found, denied, io.
  static result<staging> make(const std::string& directory);
  staging(staging&& other) noexcept;
  staging& operator=(staging&&) = delete;
  ~staging();

  const std::string& path() const noexcept { return path_; }

private:
  explicit staging(std::string path) : path_{std::move(path)} {}
  std::string path_;
};

/// Moves a file or tree to `to`, on the same file system. A directory that is
/// there already takes the contents of one that comes, as with cp -r, and the
/// mode and time of those below the top; any other file is replaced at once.
/// Error: io, naming what was in the way.
result<void> move_into(const std::string& from, const std::string& to);

/// The same for what is in the directory `from`.
result<void> move_contents(const std::string& from, const std::string& to);

} // namespace caged::cli
