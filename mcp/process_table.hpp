#pragma once

#include <memory>

namespace caged::mcp {

/// Background commands of one client, by id. Thread-safe. When it goes, every
/// command in it is ended with its whole tree and reaped.
/// (Interface to be completed in mcp/terminal: start, output since an offset,
/// kill, list; bounded number.)
class process_table {
public:
  process_table();
  ~process_table();
  process_table(const process_table&) = delete;
  process_table& operator=(const process_table&) = delete;

  struct impl;
  impl& self() { return *impl_; }

private:
  std::unique_ptr<impl> impl_;
};

} // namespace caged::mcp
