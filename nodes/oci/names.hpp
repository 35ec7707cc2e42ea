#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "nodes/oci/oci_driver.hpp"

namespace caged::oci {

/// Every name that a sandbox has on the host, from its id and the node's.
class names {
public:
  explicit names(const oci_options& options)
      : group_{options.cgroup_parent + "-" + options.node_id},
        data_{options.data_dir},
        run_{options.run_dir},
        uid_base_{options.uid_base} {}

  const std::string& node_group() const noexcept { return group_; }
  std::string group(const std::string& id) const { return group_ + "/" + id; }
  std::filesystem::path sandboxes() const { return data_ / "sandboxes"; }
  std::filesystem::path dir(const std::string& id) const {
    return sandboxes() / id;
  }
  std::filesystem::path image(const std::string& id) const {
    return dir(id) / "disk.img";
  }
  /// crun's --root; a directory ID in it is a container.
  std::filesystem::path crun_root() const { return run_ / "crun"; }
  std::uint64_t uid(std::uint32_t slot) const noexcept {
    return std::uint64_t{uid_base_} + std::uint64_t{65536} * slot;
  }

private:
  std::string group_;
  std::filesystem::path data_, run_;
  std::uint32_t uid_base_;
};

} // namespace caged::oci
