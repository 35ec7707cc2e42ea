#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "mcp/workspace.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// A new process and what it gets, prepared: between clone and exec there are
/// only system calls.
struct keeper_request {
  /// Tried in order until one can be executed.
  std::vector<std::string> programs;
  std::vector<std::string> argv; ///< Not empty.
  std::vector<std::string> env;  ///< "NAME=value"
  int cwd = -1;                  ///< An open folder, O_PATH will do.
  int in = -1, out = -1, err = -1;
};

/// A command below a keeper.
///
/// A keeper is a process between us and the command that has only one purpose:
/// as a child subreaper (PR_SET_CHILD_SUBREAPER(2const)) it becomes the parent
/// of everything in the command's tree whose own parent ends, so that a daemon
/// that forks twice and calls setsid(2) is still found below the command that
/// it came from, also while other commands run. It waits for all of them and
/// ends with the last. It is made by clone(2) with CLONE_VM and has no memory
/// of its own: nothing is copied, and about a tenth is added to the cost of
/// starting a shell (measured against posix_spawn(3)).
///
/// The command has its own session and process group, default signals, an empty
/// mask and no descriptors but 0, 1 and 2.
class keeper {
public:
  /// What its channel says.
  struct news {
    bool ended = false; ///< The command itself; `status` as of waitpid(2).
    int status = 0;
    /// The keeper has ended: nobody of the tree is left, unless the keeper was
    /// killed, which shows by a command that never `ended`.
    bool gone = false;
  };

  /// Errors: not_found (none of the programs), denied (not executable),
  /// too_large (arguments and environment), resource. Any thread.
  static result<keeper> start(const keeper_request& what);

  keeper() = default;
  keeper(keeper&& other) noexcept { swap(other); }
  keeper& operator=(keeper&& other) noexcept {
    swap(other);
    return *this;
  }
  keeper(const keeper&) = delete;
  keeper& operator=(const keeper&) = delete;
  /// Waits for the end of the keeper: end its tree first.
  ~keeper();

  /// Readable when there are news.
  int channel() const { return channel_.get(); }
  /// Reads one piece of them; blocks when there is none. After `gone` the
  /// keeper has been waited for.
  news next();
  /// Of the keeper; 0 once it has been waited for. Until then this number
  /// belongs to nobody else.
  pid_t pid() const { return pid_; }
  /// Of the command.
  pid_t main() const { return main_; }

private:
  void swap(keeper& other) noexcept;
  void collect();

  owned_fd channel_;
  pid_t pid_ = 0, main_ = 0;
  void* stack_ = nullptr;
};

} // namespace caged::mcp
