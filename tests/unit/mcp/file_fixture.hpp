#pragma once

#include <fstream>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>

#include <catch2/catch.hpp>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mcp/call.hpp"
#include "mcp/tools/families.hpp"
#include "tests/support/process.hpp"

namespace caged::mcp::test_files {

using caged::test::read_file;
using caged::test::temp_dir;
using caged::test::write_file;

/// A call without a client.
class lone_call : public call {
public:
  lone_call() : call{std::make_shared<cancellation>()} {}
  void progress(double, std::optional<double>, std::string_view) override {}
  void log(log_level, std::string_view, const json&) override {}
  process_table& processes() override {
    throw std::logic_error("file tools have no processes");
  }
};

/// Whether a value is what a schema of ours says: type, required, no others.
inline bool fits(const json& value, const json& schema) {
  const std::string type = schema.at("type");
  if (type == "array")
    return value.is_array()
           && std::all_of(value.begin(), value.end(), [&](const json& item) {
                return fits(item, schema.at("items"));
              });
  if (type != "object")
    return type == "string"    ? value.is_string()
           : type == "integer" ? value.is_number_integer()
                               : type == "boolean" && value.is_boolean();
  if (!value.is_object())
    return false;
  for (const auto& name : schema.at("required"))
    if (!value.contains(name.get<std::string>()))
      return false;
  for (const auto& [name, member] : value.items())
    if (!schema.at("properties").contains(name)
        || !fits(member, schema.at("properties").at(name)))
      return false;
  return true;
}

/// base/ws is the workspace; base/ws-evil and base/outside.txt lie beside it.
struct bench {
  temp_dir base;
  std::string ws = base / "ws";
  server_config config;
  workspace where;
  tool_set tools;

  bench() : where{make()} { add_file_tools(tools, where, config); }

  workspace make() const {
    ::mkdir(ws.c_str(), 0755);
    ::mkdir((base / "ws-evil").c_str(), 0755);
    write_file(base / "ws-evil/secret.txt", "secret");
    write_file(base / "outside.txt", "secret");
    auto out = workspace::open(ws);
    REQUIRE(out);
    return std::move(*out);
  }

  std::string at(std::string_view name) const {
    return ws + "/" + std::string{name};
  }
  void put(std::string_view name, std::string_view bytes) const {
    const auto path = at(name);
    for (auto slash = path.find('/', ws.size() + 1); slash != std::string::npos;
         slash = path.find('/', slash + 1))
      ::mkdir(path.substr(0, slash).c_str(), 0755);
    write_file(path, bytes);
  }
  std::string get(std::string_view name) const { return read_file(at(name)); }
  void link(const std::string& target, std::string_view name) const {
    REQUIRE(::symlink(target.c_str(), at(name).c_str()) == 0);
  }

  result<tool_result> run(const char* name, const json& args) const {
    const auto* found = tools.find(name);
    if (found == nullptr)
      throw std::logic_error(name);
    lone_call in;
    return found->run(arguments{args}, in);
  }
  /// A call that must succeed: structuredContent as a client sees it, with
  /// the text block as "#text". Checked against the output schema.
  json ok(const char* name, const json& args) const {
    auto out = run(name, args);
    INFO(name << " " << args.dump().substr(0, 300));
    INFO((out ? std::string{} : out.error().message));
    REQUIRE(out);
    REQUIRE(!out->is_error);
    auto value = out->structured;
    if (!out->encoded_members.empty())
      value.update(json::parse("{" + out->encoded_members + "}"));
    if (!out->text_member.empty()) {
      CHECK(!value.contains(out->text_member));
      value[out->text_member] = out->text;
    }
    CHECK(fits(value, tools.find(name)->output_schema()));
    value["#text"] = out->text;
    return value;
  }
  /// A call that must fail: its code, and the sentence is checked to be one.
  std::string no(const char* name, const json& args) const {
    auto out = run(name, args);
    if (out)
      return "<done: " + out->text.substr(0, 100) + ">";
    const auto& why = out.error();
    INFO(why.message);
    CHECK(!why.message.empty());
    CHECK(why.message.find('\n') == std::string::npos);
    return std::string{to_string(why.code)};
  }
  failure why(const char* name, const json& args) const {
    auto out = run(name, args);
    REQUIRE(!out);
    return out.error();
  }

  /// Names in a folder of the workspace.
  std::set<std::string> names(const std::string& folder = ".") const {
    std::set<std::string> out;
    DIR* dir = ::opendir(at(folder).c_str());
    REQUIRE(dir != nullptr);
    while (const auto* entry = ::readdir(dir))
      out.insert(entry->d_name);
    ::closedir(dir);
    out.erase(".");
    out.erase("..");
    return out;
  }
  /// What lies outside is as it was.
  bool untouched() const {
    struct stat about {};
    return read_file(base / "outside.txt") == "secret"
           && read_file(base / "ws-evil/secret.txt") == "secret"
           && ::stat(ws.c_str(), &about) == 0;
  }
};

/// Paths that must reach nothing, whichever tool gets them. They need the
/// links of hostile_links(); "b.at" is the workspace.
inline void hostile_links(const bench& b) {
  b.put("sub/file.txt", "inside");
  b.link("/", "to-root");
  b.link(b.base.path(), "to-base");
  b.link("..", "to-parent");
  b.link("../ws-evil", "to-evil");
  b.link("../ws-evil/secret.txt", "to-file");
  b.link("to-file", "to-link");
  b.link("/proc/self/root", "to-magic");
  b.link("/proc/self/environ", "to-environ");
  b.link("loop", "loop");
}
inline std::vector<std::string> hostile_paths(const bench& b) {
  return {"../outside.txt",
          "sub/../../outside.txt",
          "../ws-evil/secret.txt",
          "../../../../../../../../etc/passwd",
          "sub/../../ws/../outside.txt",
          b.ws + "/../outside.txt",
          b.ws + "-evil/secret.txt",
          "/etc/passwd",
          "//etc/passwd",
          "/proc/self/environ",
          "/proc/self/root/etc/passwd",
          "/dev/zero",
          "to-root/etc/passwd",
          "to-base/outside.txt",
          "to-parent/outside.txt",
          "to-evil/secret.txt",
          "to-magic/etc/passwd",
          "sub/../to-parent/outside.txt",
          "file:///etc/passwd",
          "file://" + b.ws + "/sub/file.txt",
          "~/outside.txt",
          "~",
          "sub/file.txt/../../../outside.txt",
          "loop/x",
          std::string("sub/file.txt\0.png", 17),
          std::string(4096, 'a'),
          std::string(300, 'a'),
          "sub/" + std::string(300, 'b') + "/x"};
}
/// The same for tools that follow a link at the end.
inline std::vector<std::string> hostile_ends() {
  return {"to-file", "to-link", "to-environ", "loop"};
}

} // namespace caged::mcp::test_files
