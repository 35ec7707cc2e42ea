#pragma once

#include <charconv>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/actors/fakes.hpp"

/// Several nodes in one process, on one store, whose links are queues.
namespace caged::fakes {

/// What one node passes on, until the fleet carries it over.
class queued_links : public peer_links {
public:
  std::deque<std::pair<std::string, api::request>> waiting; ///< node, request
  int gone = 0; ///< clients that were said to be
  void send(const peer_address& to, api::request what) override {
    gone += std::holds_alternative<api::client_gone>(what.body) ? 1 : 0;
    waiting.emplace_back(to.node, std::move(what));
  }
};

class fleet {
public:
  static constexpr const char* peer_route = "peer/";

  explicit fleet(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      auto made = std::make_unique<member>();
      auto& one = made->at;
      one.context->node = "n" + std::to_string(i + 1);
      one.context->node_id = "node-" + std::to_string(i + 1);
      one.store = store;
      one.context->store = store;
      one.context->fleet = made->view;
      one.context->peers = made->links;
      one.context->clients = made->sink;
      made->sink->home = [to = made.get()](api::reply what) {
        to->answers.emplace_back(to->at.context->node_id, std::move(what));
      };
      made->sink->kept = one.clients;
      nodes_.push_back(std::move(made));
    }
    for (auto& each : nodes_) {
      each->at.boot();
      node_record info;
      info.id = each->at.context->node_id;
      info.name = each->at.context->node;
      info.address = "tcp://" + info.name;
      info.public_key = info.name;
      info.runtime = "oci";
      info.networks = {"none"};
      info.total = each->at.context->total;
      put(node_key(info.id, "info"), encode(info));
      put(node_key(info.id, "live"), "");
    }
    run();
  }

  node& operator[](std::size_t i) { return nodes_[i]->at; }
  directory& view(std::size_t i) { return *nodes_[i]->view; }
  queued_links& links(std::size_t i) { return *nodes_[i]->links; }

  /// Lets everything happen: calls go over, and views follow the store.
  void run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (auto& each : nodes_) {
        if (follows)
          follow(*each);
        each->at.run();
        moved = carry(*each) || moved;
      }
    }
  }
  /// As node::ask of that node, and everything that follows from it.
  std::string ask(std::size_t i, api::request_body body,
                  std::string caller = "uid:0", std::string id = make_uuid(),
                  std::string route = "r1") {
    nodes_[i]->at.ask(std::move(body), std::move(caller), std::move(route), id);
    run();
    return id;
  }
  std::string make(std::size_t i, const std::string& name = {},
                   const std::string& caller = "uid:0") {
    api::up up;
    up.spec.name = name;
    const auto got = nodes_[i]->at.answers<api::up_reply>(ask(i, up, caller));
    return got.empty() ? std::string{} : got.back().sandbox.id;
  }
  /// Moves the time of all nodes on.
  template <class Duration>
  void pass(Duration time) {
    for (auto& each : nodes_)
      each->at.pass(time);
    run();
  }
  /// Which node has this sandbox, by its journal.
  std::size_t owner_of(const std::string& sandbox) {
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      if (nodes_[i]->at.journal->records.contains(sandbox))
        return i;
    return nodes_.size();
  }
  /// Its lease has ended, as all see it.
  void silence(std::size_t i) {
    erase(node_key(nodes_[i]->at.context->node_id, "live"));
    deaf.insert(nodes_[i]->at.context->node_id);
    for (auto& each : nodes_)
      follow(*each);
    run();
  }
  /// The link from one node to another is gone, with what was under way.
  void cut(std::size_t from, std::size_t to) {
    caf::anon_send(nodes_[from]->at.entry,
                   peer_lost{nodes_[to]->at.context->node_id,
                             ~0ULL,
                             {ec::unavailable, "hung up", {}}});
    run();
  }

  std::shared_ptr<memory_store> store = std::make_shared<memory_store>();
  std::set<std::string> deaf; ///< nodes that nothing reaches
  bool follows = true;        ///< whether views follow the store

private:
  class home_sink : public client_sink {
  public:
    std::function<void(api::reply)> home;
    std::shared_ptr<recording_sink> kept;
    void send(api::reply what) override {
      if (what.route.starts_with(route_home)) {
        what.hop = number(what.route.substr(route_home.size()));
        home(std::move(what));
      } else {
        kept->send(std::move(what));
      }
    }
    void watch(const std::string& route) override { kept->watch(route); }
    void unwatch(const std::string& route) override { kept->unwatch(route); }
  };
  struct member {
    std::shared_ptr<directory> view = std::make_shared<directory>();
    std::shared_ptr<queued_links> links = std::make_shared<queued_links>();
    std::shared_ptr<home_sink> sink = std::make_shared<home_sink>();
    std::deque<std::pair<std::string, api::reply>> answers; ///< for its entry
    std::map<std::string, std::int64_t> seen;               ///< by key
    std::size_t carried = 0; ///< of what its clients were sent
    node at;
  };

  static std::uint64_t number(const std::string& text) {
    std::uint64_t out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
  }
  void put(const std::string& key, std::string value) {
    REQUIRE(store->commit({}, {{operation::kind::put, key, std::move(value)}}));
  }
  void erase(const std::string& key) {
    REQUIRE(store->commit({}, {{operation::kind::erase, key, {}}}));
  }
  void follow(member& of) {
    for (const auto& [key, value] : store->records)
      if (of.seen[key] != value.revision) {
        of.seen[key] = value.revision;
        of.view->apply(value, false);
      }
    for (auto at = of.seen.begin(); at != of.seen.end();)
      if (store->records.contains(at->first)) {
        ++at;
      } else {
        of.view->apply({at->first, {}, 0}, true);
        at = of.seen.erase(at);
      }
    of.view->loaded();
  }
  member* find(const std::string& id) {
    for (auto& each : nodes_)
      if (each->at.context->node_id == id)
        return each.get();
    return nullptr;
  }
  bool carry(member& of) {
    bool moved = false;
    const auto& self = of.at.context->node_id;
    while (!of.links->waiting.empty()) {
      auto [to, what] = std::move(of.links->waiting.front());
      of.links->waiting.pop_front();
      auto* there = find(to);
      if (!there || deaf.contains(to))
        continue;
      what.route = peer_route + self + "/" + std::to_string(what.hop);
      caf::anon_send(
          there->at.entry,
          request_ptr{std::make_shared<const api::request>(std::move(what))});
      moved = true;
    }
    auto& sent = of.at.clients->sent;
    for (; of.carried < sent.size(); ++of.carried) {
      const auto& reply = sent[of.carried];
      if (!reply.route.starts_with(peer_route) || deaf.contains(self))
        continue;
      const auto slash = reply.route.rfind('/');
      const auto begin = std::string_view{peer_route}.size();
      auto* back = find(reply.route.substr(begin, slash - begin));
      auto copy = reply;
      copy.hop = number(reply.route.substr(slash + 1));
      caf::anon_send(back->at.entry, peer_answer{self, std::move(copy)});
      moved = true;
    }
    while (!of.answers.empty()) {
      auto [from, what] = std::move(of.answers.front());
      of.answers.pop_front();
      caf::anon_send(of.at.entry, peer_answer{from, std::move(what)});
      moved = true;
    }
    return moved;
  }

  std::vector<std::unique_ptr<member>> nodes_;
};

} // namespace caged::fakes
