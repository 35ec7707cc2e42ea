#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "mcp/call.hpp"
#include "mcp/process_table.hpp"

namespace caged::test {

/// A call without a session.
class fake_call : public mcp::call {
public:
  fake_call() : fake_call{std::make_shared<mcp::cancellation>()} {}
  explicit fake_call(std::shared_ptr<mcp::cancellation> cancel)
      : call{std::move(cancel)} {}
  void progress(double, std::optional<double>,
                std::string_view message) override {
    messages.emplace_back(message);
    ++said;
  }
  void log(mcp::log_level, std::string_view, const mcp::json&) override {}
  mcp::process_table& processes() override { return table; }

  std::vector<std::string> messages; ///< Read them once the call is over.
  std::atomic<int> said{0};          ///< How many there are; any thread.
  mcp::process_table table;
};

} // namespace caged::test
