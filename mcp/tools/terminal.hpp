#pragma once

#include <memory>
#include <optional>

#include "mcp/allow_list.hpp"
#include "mcp/call.hpp"
#include "mcp/config.hpp"
#include "mcp/tool.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

/// What the terminal tools share. Immutable, any thread.
struct terminal {
  terminal(const workspace& where, const server_config& config);
  const workspace& files;
  const server_config& settings;
  std::optional<allow_list> allowed; ///< Nothing: all, through a shell.
};

/// The tool terminal_exec without its run.
json exec_input_schema(const terminal& of);
json exec_output_schema();

result<tool_result> terminal_exec(const terminal& of, const arguments& args,
                                  call& by);
result<tool_result> terminal_output(const terminal& of, const arguments& args,
                                    call& by);
result<tool_result> terminal_kill(const terminal& of, const arguments& args,
                                  call& by);

} // namespace caged::mcp
