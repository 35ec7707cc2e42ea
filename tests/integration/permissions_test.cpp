#include <catch2/catch.hpp>

#include <array>
#include <csignal>
#include <map>

#include <nlohmann/json.hpp>

#include "actors/permissions.hpp"
#include "messages/curve_pair.hpp"
#include "messages/key_file.hpp"
#include "tests/support/asker.hpp"
#include "tests/support/every_request.hpp"
#include "tests/support/hosts.hpp"

// Who may what is the same whichever node of a fleet is asked: every verb of
// the protocol, by clients of every role, through the node that has the sandbox
// and through two that do not.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr std::size_t nodes = 3, owner = 2;

/// What requests are about.
struct subject {
  std::string sandbox;        ///< id, name or prefix
  std::string made = sandbox; ///< by `up`, to be destroyed
  std::string exec = "0000", token = "tok-00000000";
  std::uint16_t port = 1;
};

/// One that is complete; what is missing of a verb that is added makes it
/// bad_request, and the case fails.
api::request_body about(const subject& of, api::request_body body) {
  std::visit(
      [&]<class Verb>(Verb& what) {
        if constexpr (requires { what.sandbox = of.sandbox; })
          what.sandbox = of.sandbox;
        if constexpr (requires { what.node = std::string{}; })
          what.node = "n2";
        if constexpr (std::is_same_v<Verb, api::up>) {
          what.node.clear();
          what.spec.cpus = 1;
          what.spec.memory_mb = 128;
          what.spec.disk_gb = 1;
        } else if constexpr (std::is_same_v<Verb, api::exec>) {
          what.argv = {"sleep", "1000"};
          what.detach = true;
        } else if constexpr (std::is_same_v<Verb, api::destroy>) {
          what.sandbox = of.made;
        } else if constexpr (std::is_same_v<Verb, api::kill>) {
          what.exec = of.exec;
        } else if constexpr (std::is_same_v<Verb, api::dial>) {
          what.port = of.port;
        } else if constexpr (std::is_same_v<Verb, api::token_revoke>) {
          what.token = of.token;
        } else if constexpr (std::is_same_v<Verb, api::exec_signal>) {
          what.number = SIGTERM;
        } else if constexpr (std::is_same_v<Verb, api::key_authorize>) {
          what.key = make_key_pair({})->public_key;
          what.name = "intruder";
          what.as = api::role::admin;
        } else if constexpr (std::is_same_v<Verb, api::key_revoke>) {
          what.key = "alice";
        } else if constexpr (std::is_same_v<Verb, api::template_read>) {
          what.template_name = "minimal";
        } else if constexpr (std::is_same_v<Verb, api::join>) {
          what.public_key = make_key_pair({})->public_key;
          what.cluster = api::connection_id;
        }
      },
      body);
  return body;
}

/// What the answer adds to go on with.
void remember(subject& of, const api::request_body& asked,
              const asker::answer& got) {
  if (!got.body)
    return;
  if (const auto* up = std::get_if<api::up_reply>(&*got.body))
    of.made = up->sandbox.id;
  if (const auto* token = std::get_if<api::token_reply>(&*got.body))
    of.token = token->info.id;
  if (std::holds_alternative<api::exec>(asked))
    of.exec = got.id;
}

double refused(const test_node& node, const std::string& reason) {
  return node
      .series("caged_node_clients_refused_total{reason=\"" + reason + "\"")
      .value_or(0);
}

/// Lines of the log about refusals for this reason that say all of this.
int logged(const test_node& node, const std::string& reason,
           const std::string& who, const std::string& from) {
  int out = 0;
  std::istringstream lines{node.log()};
  for (std::string line; std::getline(lines, line);) {
    const auto got = json::parse(line, nullptr, false);
    if (got.is_object() && got.value("event", "") == "client_refused"
        && got.value("reason", "") == reason && got.value("who", "") == who
        && got.value("from", "") == from)
      ++out;
  }
  return out;
}

/// Connections of one person to every node.
std::vector<asker> everywhere(hosts& f, person& who) {
  std::vector<asker> out;
  for (std::size_t i = 0; i < nodes; ++i) {
    who.go_to(f[i]);
    out.emplace_back(who);
    REQUIRE(out.back().open());
  }
  return out;
}

/// Asks for every verb through every node. Each says yes or no by the table,
/// all of them in the same words, and counts its noes.
void check_role(hosts& f, std::vector<asker>& through, const subject& of,
                bool permission::*may) {
  std::array<std::string, std::variant_size_v<api::request_body>> said;
  for (std::size_t i = 0; i < nodes; ++i) {
    auto subject_here = of;
    subject_here.port = static_cast<std::uint16_t>(of.port + i);
    const auto before = refused(f[i], "role");
    int noes = 0;
    for (auto& bare : every_request()) {
      const auto body = about(subject_here, std::move(bare));
      const auto got = through[i].ask(body);
      remember(subject_here, body, got);
      const auto verb = body.index();
      INFO(api::verb_of(body) << " through n" << i + 1 << ": " << got.text());
      const bool yes = permissions[verb].*may;
      noes += yes ? 0 : 1;
      CHECK(got.denied() != yes);
      if (yes)
        CHECK_FALSE(
            (got.body && std::holds_alternative<api::error_reply>(*got.body)));
      else
        CHECK(has(got.text(), std::string{api::verb_of(body)}));
      if (i == 0)
        said[verb] = got.text();
      else
        CHECK(got.text() == said[verb]);
    }
    CHECK(refused(f[i], "role") == before + noes);
  }
}

/// Whatever is asked about somebody else's sandbox, there is none: as of one
/// that nobody has.
void check_stranger(hosts& f, std::vector<asker>& through, const subject& of) {
  const std::string nobodys = "cage-00000000";
  for (std::size_t i = 0; i < nodes; ++i) {
    const auto before = refused(f[i], "owner");
    int named = 0;
    for (const auto& bare : every_request()) {
      const bool is_about_one = std::visit(
          [](const auto& what) {
            return requires {
              what.sandbox;
            };
          },
          bare);
      if (!is_about_one)
        continue;
      const auto ask = [&](const std::string& reference) {
        auto other = of;
        other.sandbox = other.made = reference;
        const auto got = through[i].ask(about(other, bare));
        INFO(api::verb_of(bare) << " of " << reference << " through n" << i + 1
                                << ": " << got.text());
        const auto* error =
            got.body ? std::get_if<api::error_reply>(&*got.body) : nullptr;
        REQUIRE(error);
        CHECK(error->why.code == ec::not_found);
        auto text = got.text();
        for (auto at = text.find(reference); at != std::string::npos;
             at = text.find(reference, at))
          text.replace(at, reference.size(), "IT");
        return text;
      };
      const auto none = ask(nobodys);
      CHECK(ask(of.sandbox) == none);
      ++named;
      CHECK(ask("web") == none); // the name is hers, too
      CHECK(ask(of.sandbox.substr(0, 9)) == none);
    }
    CHECK(named > 10);
    const auto token = through[i].ask(api::token_revoke{of.token});
    CHECK(has(token.text(), "not_found: there is no token"));
    ++named;
    CHECK(refused(f[i], "owner") == before + named);
    CHECK(logged(f[i], "owner", "key:bob", "127.0.0.1") >= 1);
    const auto list = through[i].ask(api::list{true, true, {}});
    REQUIRE(list.body);
    CHECK(std::get<api::list_reply>(*list.body).sandboxes.empty());
  }
}

} // namespace

TEST_CASE("every verb has its yes or no by role, the same through each of "
          "three nodes") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{nodes};
  person alice{f[0], "alice", "user"}, bob{f[1], "bob", "user"},
      eve{f[2], "eve", "viewer"}, mallory{f[0], "mallory", ""};
  auto hers = everywhere(f, alice), his = everywhere(f, bob),
       viewed = everywhere(f, eve);
  // One sandbox of alice's, on the third node, with a port for each dial.
  const auto made =
      alice.caged({"up", "--no-config", "--memory", "128", "--name", "web",
                   "--node", "n3", "--format", "json"});
  INFO(made.err);
  REQUIRE(made.exit == 0);
  subject web{json::parse(made.out)["id"].get<std::string>()};
  web.port = 8080;
  REQUIRE(alice
              .caged({"exec", "-d", "web", "--", "sh", "-c",
                      "for p in 0 1 2; do nc -l -p 808$p -e cat & done; wait"})
              .exit
          == 0);
  REQUIRE(eventually(20s, [&] {
    return alice
               .caged({"exec", "web", "--", "sh", "-c",
                       "netstat -ltn 2>/dev/null | grep -c ':808[012]'"})
               .out
           == "3\n";
  }));
  auto& secret = hers.front();
  const auto token = secret.ask(api::token_create{web.sandbox, {}});
  REQUIRE(token.body);
  REQUIRE(std::holds_alternative<api::token_reply>(*token.body));
  auto of_bob = web;
  of_bob.token = std::get<api::token_reply>(*token.body).info.id;
  // Until all have heard of both.
  for (std::size_t i = 0; i < nodes; ++i)
    REQUIRE(eventually(20s, [&] {
      const auto list = f[i].caged({"token", "list"}).out;
      return has(list, of_bob.token);
    }));

  check_role(f, viewed, web, &permission::viewer);
  check_stranger(f, his, of_bob);
  check_role(f, hers, web, &permission::user);
  for (std::size_t i = 0; i < nodes; ++i) {
    CAPTURE(i);
    CHECK(logged(f[i], "role", "key:eve", "127.0.0.1") >= 1);
    // A key that nobody has authorised gets no further than the handshake.
    const auto before = refused(f[i], "unknown_key");
    mallory.go_to(f[i]);
    const auto got = mallory.caged({"get", "web"});
    CHECK(got.exit == 1);
    CHECK(has(got.err, "does not know your key"));
    CHECK(eventually(
        5s, [&] { return refused(f[i], "unknown_key") == before + 1; }));
    CHECK(logged(f[i], "unknown_key",
                 read_public_key(mallory.public_file())->public_key,
                 "127.0.0.1")
          >= 1);
  }
  // Nothing of all that came through.
  CHECK(f[owner].state("web") == "running");
  CHECK_FALSE(has(f[0].caged({"key", "list"}).out, "intruder"));
  CHECK_FALSE(has(f[0].caged({"node", "list"}).out, "cordoned"));
  CHECK(has(f[0].caged({"token", "list"}).out, of_bob.token));
  CHECK(f.clear() == "");
}

TEST_CASE("a key that is revoked through one node is dead at all, open streams "
          "included") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{nodes};
  person alice{f[0], "alice", "user"};
  auto open = everywhere(f, alice);
  const auto key = read_public_key(alice.public_file())->public_key;
  REQUIRE(alice
              .caged({"up", "--no-config", "--memory", "128", "--name", "web",
                      "--node", "n3"})
              .exit
          == 0);
  subject web{"web"};
  // Through each: a command that says nothing, one that never stops, and the
  // events of the fleet and of the sandbox.
  std::vector<std::unique_ptr<background>> streams;
  for (std::size_t i = 0; i < nodes; ++i) {
    alice.go_to(f[i]);
    for (const auto& args : std::vector<std::vector<std::string>>{
             {"exec", "web", "--", "sh", "-c", "echo line; exec sleep 600"},
             {"exec", "--no-stdin", "web", "--", "sh", "-c",
              "while true; do echo line; done"},
             {"events", "-f"},
             {"events", "-f", "web"}})
      streams.push_back(alice.start_caged(args));
  }
  for (auto& each : streams)
    REQUIRE(eventually(20s, [&] { return !each->out().empty(); }));
  std::vector<double> before;
  for (auto& each : f.nodes)
    before.push_back(refused(*each, "revoked_key"));

  REQUIRE(f[0].caged({"key", "revoke", "alice"}).exit == 0);
  for (std::size_t i = 0; i < streams.size(); ++i) {
    auto& each = *streams[i];
    CAPTURE(i);
    CHECK(each.wait(patient(5s)));
    INFO(each.err());
    CHECK(each.exit() == (i % 4 < 2 ? 125 : 1));
    CHECK(has(each.err(), "your key is not authorised any more"));
  }
  for (std::size_t i = 0; i < nodes; ++i) {
    CAPTURE(i);
    // Her connections are still there, and good for nothing.
    for (const auto& bare : every_request()) {
      const auto got = open[i].ask(about(web, bare));
      INFO(api::verb_of(bare) << ": " << got.text());
      CHECK(got.denied());
      CHECK(has(got.text(), "your key is not authorised any more"));
    }
    CHECK(refused(f[i], "revoked_key")
          >= before[i] + static_cast<double>(every_request().size()) + 4);
    CHECK(logged(f[i], "revoked_key", key, "an open connection")
              + logged(f[i], "revoked_key", key, "127.0.0.1")
          >= 4);
    alice.go_to(f[i]);
    const auto got = alice.caged({"list"});
    CHECK(got.exit == 1);
    CHECK(has(got.err, "does not know your key"));
  }
  CHECK(f[owner].state("web") == "running");
  CHECK(f.clear() == "");
}
