#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nodes/oci/sys.hpp"

/// The writable layer of a sandbox: a sparse ext4 image on a loop device.
namespace caged::oci {

/// A file with an empty ext4 of that size, made at first use beneath
/// data_dir/images and kept. Errors: host_setup (mkfs.ext4), io, resource.
result<std::filesystem::path> empty_image(const std::filesystem::path& data_dir,
                                          std::uint64_t disk_gb);

/// Copies a sparse file: its data and nothing of its holes. Errors: io,
/// resource (disk full).
result<void> copy_sparse(const std::filesystem::path& from,
                         const std::filesystem::path& to);

struct loop_device {
  sys::unique_fd fd; ///< keep it open until the device is mounted
  int number = -1;
};

/// Attaches the file to a free loop device, which frees itself with its last
/// user. Others may attach at the same time. Error: resource.
result<loop_device> attach_loop(const std::filesystem::path& image);

struct attached {
  int number = -1;
  std::string file; ///< " (deleted)" is taken off
};

/// The loop devices whose file lies beneath the directory.
std::vector<attached> loops_beneath(const std::filesystem::path& dir);

/// Waits until no loop device has the file, helping those along that nobody
/// has mounted. Error: resource, after the deadline.
result<void> detach_loops(const std::filesystem::path& image,
                          std::chrono::milliseconds timeout);

} // namespace caged::oci
