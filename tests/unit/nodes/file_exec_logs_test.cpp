#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include <catch2/catch.hpp>

#include <sys/mount.h>

#include "messages/limits.hpp"
#include "messages/text.hpp"
#include "nodes/file_exec_logs.hpp"

using namespace caged;
namespace fs = std::filesystem;

namespace {

struct scratch {
  fs::path path = fs::temp_directory_path() / ("caged-logs-" + make_uuid());
  ~scratch() { fs::remove_all(path); }
};

} // namespace

TEST_CASE("an exec log gives back what was appended, in order") {
  scratch dir;
  auto logs = make_file_exec_logs(dir.path);
  logs->append("cage-abcd1234", "init", "one\n");
  logs->append("cage-abcd1234", "init", "two\n");
  CHECK(logs->read("cage-abcd1234", "init").value() == "one\ntwo\n");
  CHECK(logs->read("cage-other123", "init").value().empty());
  logs->remove("cage-abcd1234");
  CHECK(logs->read("cage-abcd1234", "init").value().empty());
}

TEST_CASE("an exec log keeps its newest bytes and counts what it drops") {
  scratch dir;
  auto logs = make_file_exec_logs(dir.path);
  std::string block(1024 * 1024, 'a');
  for (int i = 0; i < 12; ++i)
    logs->append("cage-abcd1234", "init", block);
  logs->append("cage-abcd1234", "init", "the end");
  auto kept = logs->read("cage-abcd1234", "init").value();
  CHECK(kept.size() <= limits::exec_log_max + 100);
  CHECK(kept.size() >= limits::exec_log_max / 2);
  CHECK(kept.find("bytes before this were dropped]") != std::string::npos);
  CHECK(kept.substr(kept.size() - 7) == "the end");
}

TEST_CASE("an exec log's names cannot leave its directory") {
  scratch dir;
  auto logs = make_file_exec_logs(dir.path / "logs");
  logs->append("../escape", "init", "x");
  logs->append("cage-abcd1234", "../../escape", "x");
  CHECK_FALSE(fs::exists(dir.path / "escape"));
  CHECK_FALSE(fs::exists(dir.path / "escape.log"));
}

TEST_CASE("output that a full disk does not take is counted and told") {
  scratch dir;
  fs::create_directory(dir.path);
  if (::mount("tmpfs", dir.path.c_str(), "tmpfs", 0, "size=256k") != 0) {
    std::cout << "SKIPPED: no right to mount a tmpfs" << std::endl;
    return;
  }
  {
    const std::string id = "cage-abcd1234";
    auto logs = make_file_exec_logs(dir.path / "logs");
    auto end = [&] { return logs->part(id, "out", 0, 0)->end; };
    REQUIRE(logs->append(id, "out", "begin"));
    std::ofstream{dir.path / "ballast"} << std::string(1 << 20U, 'x');
    auto lost = logs->append(id, "out", std::string(100000, 'y'));
    REQUIRE_FALSE(lost);
    CHECK(lost.error().message.find("out.log") != std::string::npos);
    CHECK(lost.error().message.find("No space") != std::string::npos);
    // A reader is led over the gap, with true offsets.
    CHECK(end() == 100005);
    auto kept = fs::file_size(dir.path / "logs" / id / "out.log");
    CHECK(logs->part(id, "out", kept, 10)->offset == 100005);
    CHECK(logs->read(id, "out")->find("were lost: No space")
          != std::string::npos);
    fs::remove(dir.path / "ballast");
    REQUIRE(logs->append(id, "out", "the end"));
    CHECK(end() == 100012);
    CHECK(logs->part(id, "out", 100005, 10)->bytes == "the end");
    auto all = logs->read(id, "out").value();
    CHECK(all.size() == 100012);
    CHECK(all.rfind("begin", 0) == 0);
    CHECK(all.find("were lost: No space") != std::string::npos);
    // The count lasts over a restart.
    CHECK(make_file_exec_logs(dir.path / "logs")->part(id, "out", 0, 0)->end
          == 100012);
  }
  CHECK(::umount2(dir.path.c_str(), MNT_DETACH) == 0);
}
