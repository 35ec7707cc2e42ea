#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "messages/error.hpp"

namespace caged {

/// A piece of a log.
struct log_part {
  std::uint64_t offset = 0; ///< of bytes; above what was asked when the rest
                            ///< was dropped
  std::string bytes;
  std::uint64_t end = 0; ///< of the whole log
};

/// Output that nobody has to stay for (init scripts, detached execs), kept on
/// the node: at most
/// limits::exec_log_max bytes a log, the oldest dropped and counted.
/// Thread-safe; a call is one small write to the page cache.
class exec_logs {
public:
  virtual ~exec_logs() = default;

  /// Error: io, the disk's: the bytes are lost, the exec goes on, offsets count
  /// them, and a line in the log says so once it can be written again.
  virtual result<void> append(const std::string& sandbox,
                              const std::string& source,
                              std::string_view bytes) = 0;

  /// Everything kept, oldest first; empty when there is none.
  virtual result<std::string> read(const std::string& sandbox,
                                   const std::string& source) = 0;

  /// At most `most` bytes from an offset on; without bytes at its end.
  virtual result<log_part> part(const std::string& sandbox,
                                const std::string& source, std::uint64_t offset,
                                std::size_t most) = 0;

  virtual void remove(const std::string& sandbox) = 0;
  /// One log of it.
  virtual void remove(const std::string& sandbox,
                      const std::string& source) = 0;
};

} // namespace caged
