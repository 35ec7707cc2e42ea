#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

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
