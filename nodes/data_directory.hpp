#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "messages/error.hpp"

namespace caged {

/// The node's directories, locked against a second daemon as long as this
/// object lives.
class data_directory {
public:
  /// Makes both directories (data 0700, run 0750 and of the group "caged" where
  /// there is one), locks the data directory, checks that it can be written,
  /// and reads or makes the node's id. Errors: conflict (names the process that
  /// holds the lock), denied (others can write there), io (read-only, full, no
  /// right), each naming the path. A directory that exists keeps its mode.
  static result<std::unique_ptr<data_directory>>
  open(const std::filesystem::path& data, const std::filesystem::path& run);

  ~data_directory();
  data_directory(const data_directory&) = delete;
  data_directory& operator=(const data_directory&) = delete;

  /// Eight characters of [a-z0-9], made once: marks the node's resources in
  /// the kernel.
  const std::string& node_id() const { return id_; }

private:
  data_directory() = default;
  int lock_ = -1;
  std::string id_;
};

} // namespace caged
