#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "agent/unique_fd.hpp"
#include "agent/users.hpp"
#include "messages/error.hpp"

namespace caged::agent {

/// What a new process needs, all of it prepared: between vfork and exec there
/// are only system calls.
struct spawn_request {
  std::string program;           ///< with a '/', or looked up in env's PATH
  std::vector<std::string> argv; ///< argv[0] may differ from program
  std::vector<std::string> env;  ///< "NAME=value"
  int cwd = -1;                  ///< an open directory
  int in = -1, out = -1, err = -1;
  bool tty = false; ///< `in` becomes the controlling terminal
  identity user;
  bool change_user = false;
  int oom_score_adj = 0; ///< 0: leave it
};

/// Starts it in a session and process group of its own. What goes wrong from
/// there on (no such command, not allowed) is written to its stderr and ends
/// it with 127 or 126, as shells do. Error: resource, when there can be no
/// process at all.
result<pid_t> spawn(const spawn_request& what);

/// Both ends of a pipe, close-on-exec. Error: resource.
struct pipe_pair {
  unique_fd read, write;
};
result<pipe_pair> make_pipe();

/// A pseudo terminal. Error: resource.
struct pty_pair {
  unique_fd master, slave;
};
result<pty_pair> make_pty(unsigned rows, unsigned cols);

} // namespace caged::agent
