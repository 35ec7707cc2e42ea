#pragma once

#include <string>
#include <string_view>

#include "messages/error.hpp"

namespace caged {

/// Output that nobody is attached to (init scripts), kept on the node: at most
/// limits::exec_log_max bytes a log, the oldest dropped and counted.
/// Thread-safe; a call is one small write to the page cache.
class exec_logs {
public:
  virtual ~exec_logs() = default;

  /// Errors are the disk's: the output is lost, the exec goes on, and read()
  /// says so.
  virtual void append(const std::string& sandbox, const std::string& source,
                      std::string_view bytes) = 0;

  /// Everything kept, oldest first; empty when there is none.
  virtual result<std::string> read(const std::string& sandbox,
                                   const std::string& source) = 0;

  virtual void remove(const std::string& sandbox) = 0;
};

} // namespace caged
