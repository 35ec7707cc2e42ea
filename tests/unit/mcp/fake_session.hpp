#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mcp/session.hpp"
#include "mcp/web_server.hpp"
#include "tests/support/process.hpp"

/// A session that does what its requests say, for tests of transports.
namespace caged::test {

/// What the sessions of one server did, and what they still have to do.
struct fake_world {
  std::atomic<int> made = 0, closed = 0, sent = 0, gone = 0;

  ~fake_world() {
    release();
    join();
  }
  /// Runs `work` on a thread of its own, as a worker would.
  void later(std::function<void()> work) {
    std::lock_guard guard{lock};
    threads.emplace_back(std::move(work));
  }
  /// Keeps `work` until release().
  void hold(std::function<void()> work) {
    std::lock_guard guard{lock};
    held.push_back(std::move(work));
  }
  std::size_t waiting() {
    std::lock_guard guard{lock};
    return held.size();
  }
  void release() {
    std::vector<std::function<void()>> all;
    {
      std::lock_guard guard{lock};
      all.swap(held);
    }
    for (auto& each : all)
      later(std::move(each));
  }
  void join() {
    std::vector<std::thread> all;
    {
      std::lock_guard guard{lock};
      all.swap(threads);
    }
    for (auto& each : all)
      each.join();
  }

  std::mutex lock;
  std::vector<std::thread> threads;
  std::vector<std::function<void()>> held;
};

class fake_session final : public mcp::session {
public:
  fake_session(fake_world& world, std::shared_ptr<mcp::outlet> events)
      : world_{world}, events_{std::move(events)} {
    ++world_.made;
  }
  void receive(mcp::incoming_text text,
               std::shared_ptr<mcp::outlet> reply) override {
    if (text.batch) {
      reply->send(mcp::error_response(nullptr, mcp::rpc_code::invalid_request,
                                      "no batches"));
      reply->finished();
      return;
    }
    const auto& one = text.messages.at(0);
    if (one.kind != mcp::incoming::sort::request) {
      if (one.method == "notifications/event" && events_)
        events_->send(R"({"jsonrpc":"2.0","method":"event"})");
      reply->finished();
      return;
    }
    if (one.method == "initialize")
      revision_ = one.params.value("protocolVersion", "");
    serve(one, std::move(reply));
  }
  void close() override {
    if (!closed_.exchange(true))
      ++world_.closed;
  }
  void events(std::shared_ptr<mcp::outlet> to) override {
    events_ = std::move(to);
  }
  std::string revision() const override { return revision_; }
  std::size_t busy() const override { return *busy_; }

private:
  static std::string result(const mcp::json& id, std::size_t size = 0) {
    return mcp::json{{"jsonrpc", "2.0"},
                     {"id", id},
                     {"result", {{"text", std::string(size, 'x')}}}}
        .dump();
  }
  void serve(const mcp::incoming& one, std::shared_ptr<mcp::outlet> reply) {
    const auto id = one.id;
    const auto size = one.params.value("size", std::size_t{0});
    const auto count = one.params.value("count", 0);
    if (one.method == "fail") {
      reply->send(mcp::error_response(id, one.params.value("code", 0), "bad"));
      reply->finished();
    } else if (one.method == "hold") {
      // Answered after release(), `count` notifications before.
      ++*busy_;
      for (int i = 0; i < count; ++i)
        reply->send(R"({"jsonrpc":"2.0","method":"progress"})");
      world_.hold([&world = world_, busy = busy_, reply, id, size] {
        if (!reply->send(result(id, size)))
          ++world.gone;
        reply->finished();
        --*busy;
      });
    } else if (one.method == "flood") {
      // A worker that sends `count` notifications of `size` bytes.
      ++*busy_;
      world_.later([&world = world_, busy = busy_, reply, id, size, count] {
        const auto note = mcp::json{{"jsonrpc", "2.0"},
                                    {"method", "progress"},
                                    {"params", std::string(size, 'x')}}
                              .dump();
        for (int i = 0; i < count; ++i) {
          if (!reply->send(note)) {
            ++world.gone;
            break;
          }
          ++world.sent;
        }
        reply->send(result(id));
        reply->finished();
        --*busy;
      });
    } else {
      reply->send(result(id, size));
      reply->finished();
    }
  }

  fake_world& world_;
  std::shared_ptr<mcp::outlet> events_;
  std::string revision_;
  std::shared_ptr<std::atomic<std::size_t>> busy_ =
      std::make_shared<std::atomic<std::size_t>>(0);
  std::atomic<bool> closed_ = false;
};

/// A server on a free port, in a thread of its own.
class fake_server {
public:
  explicit fake_server(mcp::transport mode, mcp::server_config with = {},
                       const mcp::web_times& times = {})
      : config{std::move(with)} {
    config.mode = mode;
    config.port = 0;
    auto made = mcp::web_server::listen(
        config,
        {[this](std::shared_ptr<mcp::outlet> events) {
           return std::make_shared<fake_session>(world, std::move(events));
         },
         [this] { return std::make_shared<fake_session>(world, nullptr); }},
        times);
    if (!made)
      throw std::runtime_error(made.error().message);
    server = std::move(*made);
    thread = std::thread{[this] {
      server->run();
      done = true;
    }};
  }
  ~fake_server() {
    server->stop();
    if (thread.joinable())
      thread.join();
    server.reset();
  }
  std::uint16_t port() const { return server->port(); }

  mcp::server_config config;
  fake_world world;
  std::unique_ptr<mcp::web_server> server;
  std::atomic<bool> done = false;
  std::thread thread;
};

/// One request.
inline std::string rpc(int id, std::string_view method,
                       const mcp::json& params = mcp::json::object()) {
  return mcp::json{
      {"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}}
      .dump();
}

} // namespace caged::test
