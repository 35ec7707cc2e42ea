#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include <sys/stat.h>

#include "messages/text.hpp"
#include "nodes/etcd/etcd_store.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

struct scratch {
  fs::path path = fs::temp_directory_path() / ("caged-" + random_name(8));
  scratch() { fs::create_directory(path); }
  ~scratch() { fs::remove_all(path); }

  fs::path file(const std::string& name, const std::string& bytes,
                unsigned mode) const {
    std::ofstream{path / name} << bytes;
    ::chmod((path / name).c_str(), mode);
    return path / name;
  }
};

std::string refusal(const std::string& url) {
  auto got = parse_store_url(url);
  if (got)
    return "accepted";
  CHECK(got.error().code == ec::bad_request);
  CHECK_FALSE(got.error().hint.empty());
  return got.error().message;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a store's URL names members, TLS and a prefix") {
  auto all = parse_store_url("etcd://a:2379,b.example:4001,[::1]:2380/fleet/x");
  REQUIRE(all);
  REQUIRE(all->endpoints.size() == 3);
  CHECK(all->endpoints[0].text() == "a:2379");
  CHECK(all->endpoints[1].host == "b.example");
  CHECK(all->endpoints[1].port == 4001);
  CHECK(all->endpoints[2].host == "::1");
  CHECK(all->endpoints[2].text() == "[::1]:2380");
  CHECK(all->prefix == "fleet/x");
  CHECK_FALSE(all->tls);

  auto least = parse_store_url("etcds://127.0.0.1");
  REQUIRE(least);
  CHECK(least->tls);
  CHECK(least->endpoints[0].port == 2379);
  CHECK(least->prefix == "caged");
  CHECK(parse_store_url("etcd://a/")->prefix == "caged");
  CHECK(parse_store_url("etcd://a/b/")->prefix == "b");
}

TEST_CASE("a store's URL that is none is refused in one sentence") {
  CHECK(has(refusal("http://a:2379"), "no store that caged knows"));
  CHECK(has(refusal(""), "no store that caged knows"));
  CHECK(has(refusal("etcd://"), "names no host"));
  CHECK(has(refusal("etcd:///prefix"), "names no host"));
  CHECK(has(refusal("etcd://a:2379,,b"), "names no host"));
  CHECK(has(refusal("etcd://a,"), "names no host"));
  CHECK(has(refusal("etcd://:2379"), "names no host"));
  CHECK(has(refusal("etcd://a:0"), "bad port"));
  CHECK(has(refusal("etcd://a:"), "bad port"));
  CHECK(has(refusal("etcd://a:65536"), "bad port"));
  CHECK(has(refusal("etcd://a:23x"), "bad port"));
  CHECK(has(refusal("etcd://a:1:2"), "bad port"));
  CHECK(has(refusal("etcd://[::1"), "IPv6"));
  CHECK(has(refusal("etcd://[x.y]:1"), "IPv6"));
  CHECK(has(refusal("etcd://a b:1"), "bad host"));
  CHECK(has(refusal("etcd://a\n:1"), "\\x0A"));
  CHECK(has(refusal("etcd://a/b?c=d"), "bad prefix"));
  CHECK(has(refusal("etcd://a//b"), "bad prefix"));
  CHECK(has(refusal("etcd://a/" + std::string(200, 'b')), "bad prefix"));
  std::string many = "etcd://a";
  for (int i = 0; i < 16; ++i)
    many += ",a";
  CHECK(has(refusal(many), "more than 16"));
  // A secret in it is not repeated.
  CHECK_FALSE(has(refusal("etcd://root:hunter2@a:2379/x"), "hunter2"));
  CHECK(has(refusal("etcd://root:hunter2@a:2379/x"), "password in it"));
}

TEST_CASE("an etcd on another host needs TLS and a password") {
  scratch dir;
  etcd_options options;
  options.endpoints = {{"127.0.0.1", 1}, {"localhost", 1}, {"::1", 1}};
  CHECK(check_options(options));
  options.endpoints.push_back({"10.0.0.1", 1});
  auto bare = check_options(options);
  REQUIRE_FALSE(bare);
  CHECK(bare.error().code == ec::denied);
  CHECK(has(bare.error().message, "10.0.0.1:1"));
  CHECK(has(bare.error().message, "TLS"));
  options.tls = true;
  CHECK(has(check_options(options).error().message, "user and a password"));
  options.user = "caged";
  CHECK(has(check_options(options).error().message, "given together"));
  options.password_file = dir.file("p", "secret\n", 0600);
  CHECK(check_options(options));
}

TEST_CASE("files of an etcd store that others can read are refused") {
  scratch dir;
  etcd_options options;
  options.endpoints = {{"127.0.0.1", 1}};
  options.user = "caged";
  options.password_file = dir.file("open", "secret", 0640);
  auto open = check_options(options);
  REQUIRE_FALSE(open);
  CHECK(open.error().code == ec::denied);
  CHECK(has(open.error().hint, "chmod 600"));
  CHECK_FALSE(has(open.error().message, "secret"));
  options.password_file = dir.path / "absent";
  CHECK(check_options(options).error().code == ec::io);
  options.password_file = dir.path;
  CHECK_FALSE(check_options(options));
  options.password_file = dir.file("empty", "\n", 0600);
  CHECK(has(check_options(options).error().message, "is empty"));
  options.password_file = dir.file("large", std::string(5000, 'x'), 0600);
  CHECK(has(check_options(options).error().message, "4096"));
  options.password_file = dir.file("good", "secret", 0600);
  CHECK(check_options(options));
  options.cert_file = dir.file("cert", "no PEM", 0644);
  CHECK(has(check_options(options).error().message, "given together"));
  options.key_file = dir.file("key", "no PEM", 0644);
  CHECK(has(check_options(options).error().message, "without TLS"));
  options.tls = true;
  CHECK(has(check_options(options).error().message, "read by others"));
  ::chmod(options.key_file.c_str(), 0600);
  CHECK(check_options(options));
  auto unusable = open_etcd_store(options);
  REQUIRE_FALSE(unusable);
  CHECK(has(unusable.error().message, "client certificate"));
}

TEST_CASE("an etcd that is not there gives unavailable at once") {
  etcd_options options;
  options.endpoints = {{"127.0.0.1", 1}, {"127.0.0.1", 2}};
  options.total_timeout = std::chrono::milliseconds{200};
  auto store = open_etcd_store(options);
  REQUIRE(store);
  for (int i = 0; i < 3; ++i) {
    auto got = (*store)->get("a");
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::unavailable);
    CHECK(has(got.error().message, "127.0.0.1:"));
  }
  CHECK((*store)->commit({}, {}).error().code == ec::unavailable);
  CHECK((*store)->watch("", {}).error().code == ec::unavailable);
  CHECK((*store)->grant(std::chrono::seconds{5}).error().code
        == ec::unavailable);
}
