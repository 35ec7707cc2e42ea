#include <atomic>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/resources.hpp"
#include "session_client.hpp"

using namespace caged::mcp;
using namespace caged::mcp::test;
using caged::test::temp_dir;
using caged::test::write_file;

namespace {

/// A workspace's resources as a client sees them.
struct folder {
  explicit folder(server_config c = {}) : config{std::move(c)} {}

  client& open() {
    auto got = workspace::open(dir.path());
    REQUIRE(got);
    where.emplace(std::move(*got));
    contents what;
    what.resources = file_resources(*where, config);
    here = server::with(config, std::move(what));
    one.emplace(*here);
    one->initialize("2025-11-25");
    return *one;
  }
  std::string uri(const std::string& path) const {
    return "file://" + where->root() + "/" + path;
  }
  json read(const std::string& path) {
    return one->result_of("resources/read",
                          {{"uri", uri(path)}})["contents"][0];
  }

  temp_dir dir;
  server_config config;
  std::optional<workspace> where;
  std::unique_ptr<server> here;
  std::optional<client> one;
};

/// All pages.
std::vector<std::string> all_names(client& c) {
  std::vector<std::string> out;
  json params = json::object();
  for (;;) {
    const auto page = c.result_of("resources/list", params);
    for (const auto& each : page["resources"])
      out.push_back(each["name"]);
    if (!page.contains("nextCursor"))
      return out;
    params["cursor"] = page["nextCursor"];
    REQUIRE(out.size() < 10'000);
  }
}

} // namespace

TEST_CASE("files of a workspace are resources, links and .git are not") {
  folder f;
  std::filesystem::create_directories(f.dir / "a/b");
  std::filesystem::create_directories(f.dir / ".git");
  write_file(f.dir / "a/b/deep.md", "x");
  write_file(f.dir / "a/\xc3\xa9 %.txt", "y");
  write_file(f.dir / "z.cpp", "int i;\n");
  write_file(f.dir / ".git/config", "secret");
  std::filesystem::create_symlink("z.cpp", f.dir / "link");
  std::filesystem::create_directory_symlink("/etc", f.dir / "etc");
  auto& c = f.open();
  CHECK(
      all_names(c)
      == std::vector<std::string>{"a/b/deep.md", "a/\xc3\xa9 %.txt", "z.cpp"});
  const auto list = c.result_of("resources/list");
  CHECK(list["resources"][1]["uri"] == f.uri("a/%C3%A9%20%25.txt"));
  CHECK(list["resources"][2]["size"] == 7);
  CHECK(list["resources"][2]["mimeType"] == "text/x-c++");
  CHECK(f.read("a/%C3%A9%20%25.txt")["text"] == "y");
  CHECK(f.read("z.cpp")["text"] == "int i;\n");
  const auto templates = c.result_of("resources/templates/list");
  CHECK(templates["resourceTemplates"][0]["uriTemplate"] == f.uri("{+path}"));
}

TEST_CASE("pages of resources hold each file once, in order") {
  folder f;
  std::vector<std::string> made;
  for (auto i = 0; i < 25; ++i) {
    const auto name = "d" + std::to_string(100 + i);
    std::filesystem::create_directories(f.dir / name);
    std::filesystem::create_directories(f.dir / (name + "/empty"));
    for (auto k = 0; k < 25; ++k) {
      made.push_back(name + "/f" + std::to_string(100 + k));
      write_file(f.dir / made.back(), "");
    }
  }
  auto& c = f.open();
  CHECK(all_names(c) == made);
  for (const json& cursor :
       std::vector<json>{1, "!", "====", json::array(), "AA=="})
    CHECK(c.code_of("resources/list", {{"cursor", cursor}})
          == rpc_code::invalid_params);
}

TEST_CASE("a tree that is too deep to list closes nobody else's file") {
  folder f;
  std::string deep;
  for (int i = 0; i < 70; ++i)
    deep += "d/";
  std::filesystem::create_directories(f.dir / deep);
  write_file(f.dir / "top.txt", "x");
  auto& c = f.open();
  std::atomic<bool> stop = false;
  std::atomic<int> lost = 0;
  std::thread other{[&] {
    // A number that was free a moment ago; whoever closes it twice hits us.
    while (!stop) {
      const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      std::this_thread::yield();
      if (fd >= 0 && ::close(fd) != 0)
        ++lost;
    }
  }};
  for (int i = 0; i < 300; ++i)
    CHECK(all_names(c) == std::vector<std::string>{"top.txt"});
  stop = true;
  other.join();
  CHECK(lost == 0);
}

TEST_CASE("bytes that are no text come as a blob, an empty file as a text") {
  folder f;
  write_file(f.dir / "b.bin", std::string("\0\xff", 2));
  write_file(f.dir / "empty", "");
  f.open();
  CHECK(f.read("b.bin")["blob"] == "AP8=");
  CHECK_FALSE(f.read("b.bin").contains("text"));
  CHECK(f.read("empty")["text"] == "");
}

TEST_CASE("what is no file of the workspace is no resource") {
  folder f;
  write_file(f.dir / "a", "x");
  std::filesystem::create_symlink("/etc/passwd", f.dir / "out");
  std::filesystem::create_directories(f.dir / "folder");
  auto& c = f.open();
  const auto code = [&](const std::string& uri) {
    return c.code_of("resources/read", {{"uri", uri}});
  };
  CHECK(code(f.uri("none")) == rpc_code::resource_not_found);
  for (const auto& uri :
       std::vector<std::string>{"",
                                "a",
                                "/etc/passwd",
                                "file:",
                                "file://",
                                "file://a",
                                "file:///etc/passwd",
                                "file://elsewhere/etc/passwd",
                                "http://127.0.0.1/",
                                f.uri("../../../etc/passwd"),
                                f.uri("%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
                                f.uri("out"),
                                f.uri("folder"),
                                f.uri("a?x"),
                                f.uri("a#x"),
                                f.uri("a%"),
                                f.uri("a%0"),
                                f.uri("a%zz"),
                                f.uri("a%00"),
                                f.uri("a/b"),
                                f.uri(std::string(100'000, 'a')),
                                "file:///proc/self/environ"}) {
    INFO(uri.substr(0, 100));
    CHECK(c.ask("resources/read", {{"uri", uri}}).contains("error"));
  }
  CHECK(c.code_of("resources/read") == rpc_code::invalid_params);
  CHECK(c.code_of("resources/read", {{"uri", 1}}) == rpc_code::invalid_params);
  CHECK(c.code_of("resources/read", modern({{"uri", f.uri("none")}}))
        == rpc_code::invalid_params);
}

TEST_CASE("a resource that is too large is refused with the way to read it") {
  server_config config;
  config.limits.output_bytes = 1024;
  folder f{std::move(config)};
  write_file(f.dir / "large", std::string(1025, 'x'));
  write_file(f.dir / "fits", std::string(1024, 'x'));
  auto& c = f.open();
  CHECK(f.read("fits")["text"].get<std::string>().size() == 1024);
  const auto got = c.ask("resources/read", {{"uri", f.uri("large")}});
  const auto why = got["error"]["message"].get<std::string>();
  CHECK(why.find("file_read") != std::string::npos);
}
