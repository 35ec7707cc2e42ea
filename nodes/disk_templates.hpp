#pragma once

#include <chrono>
#include <filesystem>
#include <memory>

#include "actors/template_store.hpp"

namespace caged {

/// The templates beneath DATA/templates. They travel as tar(1) archives whose
/// bytes depend on the files alone: names in order, owners as numbers,
/// extended attributes, times of change. An archive for others is a file
/// without a name, gone with the daemon; what comes from others grows in
/// DATA/templates/.incoming, and what a daemon that died left there is used or,
/// after a week, removed.
class disk_templates : public template_store {
public:
  struct options {
    /// An archive that nobody has read for so long is closed by close_idle().
    std::chrono::milliseconds idle = std::chrono::minutes(5);
    std::chrono::milliseconds pack = std::chrono::minutes(2);
    std::chrono::milliseconds unpack = std::chrono::minutes(2);
  };

  static std::unique_ptr<disk_templates>
  open(const std::filesystem::path& data_dir, options how);
  static std::unique_ptr<disk_templates>
  open(const std::filesystem::path& data_dir) {
    return open(data_dir, {});
  }

  /// Gives the disk back that an archive takes which nobody reads any more.
  virtual void close_idle() = 0;
};

} // namespace caged
