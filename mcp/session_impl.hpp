#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "mcp/call.hpp"
#include "mcp/encode.hpp"
#include "mcp/process_table.hpp"
#include "mcp/reply_group.hpp"
#include "mcp/server_impl.hpp"

namespace caged::mcp {

class client_session;

/// One request on its way through the session.
struct request {
  incoming message;
  revision spoken = revision::r2025_11_25;
  std::shared_ptr<reply_group> group;
};

/// At most so many of something in a while: `burst` at once, then `a_second`.
class rate_limit {
public:
  rate_limit(double burst, double a_second)
      : burst_{burst}, a_second_{a_second}, left_{burst} {}
  bool take();

private:
  const double burst_, a_second_;
  double left_;
  std::chrono::steady_clock::time_point last_ =
      std::chrono::steady_clock::now();
};

/// A request that takes its time: it runs on a worker, can be cancelled, and
/// may tell how far it is.
class running_call final : public call {
public:
  running_call(std::shared_ptr<client_session> of, request r);

  void progress(double done, std::optional<double> total,
                std::string_view message) override;
  void log(log_level level, std::string_view logger, const json& data) override;
  result<json> ask(std::string_view method, json params) override;
  process_table& processes() override;

  /// No more notifications, and no more answers than the one that follows.
  /// False: it was cancelled, so that none is to follow.
  bool end();

  const std::shared_ptr<client_session> session;
  request of;
  std::size_t bytes = 0; ///< of its arguments
  bool queued = false;   ///< counted among those that take their time
  /// Held while a large answer is encoded and sent: of a session one at a time,
  /// so that those who wait for a slow reader hold little.
  std::unique_lock<std::mutex> big;

private:
  bool may_tell(rate_limit& limit);

  std::mutex mutex_; // tools may call from several threads
  bool ended_ = false;
  json token_;                     // progressToken, null: none
  std::optional<log_level> least_; // of this request alone (2026-07-28)
  double done_ = -1;
  rate_limit progress_rate_{20, 10};
  rate_limit log_rate_{100, 100};
  std::shared_ptr<process_table> processes_;
};

class client_session final : public session {
public:
  client_session(server& of, std::shared_ptr<outlet> events,
                 std::shared_ptr<process_table> shared);
  ~client_session() override;

  void receive(incoming_text text, std::shared_ptr<outlet> reply) override;
  void close() override;
  void events(std::shared_ptr<outlet> to) override;
  std::string revision() const override;
  std::size_t busy() const override;

  // For calls.
  log_level least_level() const { return level_; }
  std::shared_ptr<process_table> processes();
  result<json> ask(running_call& by, std::string_view method, json params);
  std::mutex& big_results() { return big_results_; }

private:
  using handler = void (client_session::*)(request&&);
  struct method_entry {
    handler run;
    bool legacy, modern; ///< which eras have it
  };
  static const std::map<std::string_view, method_entry>& methods();
  using answer_maker = std::function<std::string(running_call&)>;

  void handle(incoming&& message, const std::shared_ptr<reply_group>& group);
  void on_notification(const incoming& message);
  void on_response(incoming&& message);
  /// The revision that a request is to be served by; refuses it otherwise.
  std::optional<mcp::revision> revision_for(const request& r);
  void refuse(const request& r, int code, std::string_view why,
              const json& data = nullptr);
  void answer(const request& r, std::string_view members);

  // Methods.
  void initialize(request&& r);
  void ping(request&& r);
  void discover(request&& r);
  void listen(request&& r);
  void subscribe(request&& r);
  void set_level(request&& r);
  void list_tools(request&& r);
  void call_tool(request&& r);
  void list_resources(request&& r);
  void list_templates(request&& r);
  void read_resource(request&& r);
  void list_prompts(request&& r);
  void get_prompt(request&& r);
  void complete(request&& r);

  void page_of(request&& r, const std::vector<std::string>& pages);
  /// Runs `make` on a worker, or here when it is brief and the transport can
  /// spare this thread; refuses what is too much.
  void later(request&& r, answer_maker make, tool_pace pace = tool_pace::slow);
  void run(const std::shared_ptr<running_call>& c, const answer_maker& make);
  void forget(const running_call& c);
  std::shared_ptr<client_session> self();

  server::impl& server_;
  mutable std::mutex mutex_;
  std::shared_ptr<outlet> events_;
  std::optional<mcp::revision> revision_; // of initialize
  std::atomic<log_level> level_ = log_level::info;
  bool closed_ = false;
  std::map<std::string, std::shared_ptr<running_call>> calls_; // by id's text
  struct subscription {
    std::shared_ptr<reply_group> group;
  };
  std::map<std::string, subscription> subscriptions_;
  std::shared_ptr<workers::lane> lane_ = std::make_shared<workers::lane>();
  std::shared_ptr<process_table> processes_;
  std::atomic<std::size_t> busy_ = 0;
  std::mutex big_results_;

  // Requests to the client (ask).
  std::condition_variable answered_;
  std::uint64_t asked_ = 0;
  std::map<std::string, std::optional<json>> asks_;
};

/// "debug" and so on (MCP, LoggingLevel).
std::optional<log_level> log_level_from(std::string_view name) noexcept;
std::string_view to_string(log_level level) noexcept;

/// A member of params._meta; nullptr when absent.
const json* meta_of(const incoming& message, std::string_view key);

} // namespace caged::mcp
