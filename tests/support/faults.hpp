#pragma once

#include <string>
#include <vector>

#include <sys/resource.h>

#include "tests/support/process.hpp"
#include "tests/support/test_node.hpp"

/// What a host can run out of, provoked for one node only. Each is undone by
/// its destructor, whatever the test did. Those that need a right or a file
/// system that is not there say so with ok().
namespace caged::test {

/// An ext4 of its own on a loop device, for a node's data directory.
class small_disk {
public:
  explicit small_disk(unsigned megabytes);
  ~small_disk();
  small_disk(const small_disk&) = delete;
  small_disk& operator=(const small_disk&) = delete;

  bool ok() const noexcept { return mounted_; }
  std::string path(const std::string& name = {}) const;
  /// Takes every block that is left.
  void fill();
  /// Gives them back.
  void drain();

private:
  temp_dir dir_;
  bool mounted_ = false;
};

/// Files that nobody may write, also who has them open (FS_IMMUTABLE_FL,
/// ioctl_iflags(2)): what a file system that became read-only does to them. It
/// cannot be remounted so while a node has files open for writing.
class read_only_files {
public:
  explicit read_only_files(std::vector<std::string> files);
  ~read_only_files() { lift(); }
  read_only_files(const read_only_files&) = delete;
  read_only_files& operator=(const read_only_files&) = delete;

  bool ok() const noexcept { return ok_; }
  void lift();

private:
  std::vector<std::string> files_;
  bool ok_ = true;
};

/// A cgroup of its own for the node's process, with a limit of processes.
class pid_cage {
public:
  pid_cage();
  ~pid_cage(); ///< after the node has ended
  pid_cage(const pid_cage&) = delete;
  pid_cage& operator=(const pid_cage&) = delete;

  bool ok() const noexcept { return !dir_.empty(); }
  void take(pid_t pid);
  /// As many as there are now, and no more.
  void close();
  void open();

private:
  std::string dir_;
};

/// The limit of descriptors of one process.
class descriptor_limit {
public:
  explicit descriptor_limit(pid_t pid);
  ~descriptor_limit() { restore(); }
  descriptor_limit(const descriptor_limit&) = delete;
  descriptor_limit& operator=(const descriptor_limit&) = delete;

  /// From now on it may open this many more.
  void leave(unsigned more);
  void restore();

private:
  pid_t pid_;
  rlimit before_{};
};

/// Flags of `caged up` for the smallest sandbox, with this name.
std::vector<std::string> smallest(const std::string& name);

/// `caged up` of one.
process_result up(const test_node& node, const std::string& name);

/// Whether it runs commands.
bool answers(const test_node& node, const std::string& id);

/// Checks that it failed by itself, with one message that holds all of this.
void refused(const process_result& got, const std::vector<std::string>& parts);

} // namespace caged::test
