#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/call.hpp"
#include "mcp/json_rpc.hpp"
#include "mcp/tool.hpp"

namespace caged::mcp {

/// What can be read beside the tools: files, or a test's fixtures. Called on
/// worker threads, several calls at a time; members are as the specification
/// has them (server/resources).
class resource_source {
public:
  virtual ~resource_source() = default;

  struct page {
    std::vector<json> items;
    std::string next; ///< Where the following page begins; empty: the last.
  };
  /// `from` is empty or an earlier `next`. Error: bad_request for another one.
  virtual result<page> list(std::string_view from, call& c) const = 0;
  virtual std::vector<json> templates() const = 0;
  /// Items of `contents`. Error: not_found, or as a file's.
  virtual result<std::vector<json>> read(std::string_view uri,
                                         call& c) const = 0;
};

/// A prompt. The server of a workspace has none; fixtures of tests do.
struct prompt {
  json about; ///< As prompts/list shows it: name, description, arguments.
  /// The result of prompts/get: description, messages.
  std::function<result<json>(const json& arguments)> get;
};

/// Everything that clients see of a server.
struct contents {
  tool_set tools;
  std::unique_ptr<resource_source> resources; ///< null: no such capability
  std::vector<prompt> prompts;                ///< empty: no such capability
  /// completion/complete, its `values`; empty: no such capability.
  std::function<std::vector<std::string>(const json& params)> complete;
  /// resources/subscribe is answered (2025-11-25 and before); nothing ever
  /// changes, so nothing is told.
  bool subscribable = false;
  std::string instructions;
  std::size_t page = 100; ///< Entries of a page of tools/list, prompts/list.
};

} // namespace caged::mcp
