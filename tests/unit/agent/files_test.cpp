#include "agent/files.hpp"

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/removal.hpp"
#include "tests/support/process.hpp"

using namespace caged;
using namespace caged::agent;
using nlohmann::json;

namespace {

agent_protocol::line write_line(json payload, std::string bytes) {
  agent_protocol::line out;
  payload["len"] = bytes.size();
  // As it comes off the wire: there whole numbers are unsigned.
  out.payload = json::parse(payload.dump());
  out.raw = std::move(bytes);
  return out;
}

} // namespace

TEST_CASE("a file appears whole or not at all") {
  test::temp_dir dir;
  file_service files{dir.path()};
  uploads pending;
  auto part =
      write_line({{"path", "f"}, {"more", true}, {"upload", "u"}}, "ab");
  REQUIRE(files.write(part, pending));
  CHECK(::access((dir / "f").c_str(), F_OK) != 0);
  // A gap, or another target under the same name, ends the upload.
  auto gap = write_line({{"path", "f"}, {"upload", "u"}, {"offset", 3}}, "c");
  CHECK(files.write(gap, pending).error().code == ec::bad_request);
  CHECK(pending.empty());
  CHECK(files.list({{"path", "."}})->at("entries").empty());
  part = write_line({{"path", "f"}, {"more", true}, {"upload", "u"}}, "ab");
  REQUIRE(files.write(part, pending));
  auto other = write_line({{"path", "g"}, {"upload", "u"}, {"offset", 2}}, "c");
  CHECK(files.write(other, pending).error().code == ec::bad_request);
  auto whole = write_line({{"path", "f"}}, "whole");
  REQUIRE(files.write(whole, pending));
  CHECK(test::read_file(dir / "f") == "whole");
}

TEST_CASE("the ninth upload at once is refused") {
  test::temp_dir dir;
  file_service files{dir.path()};
  uploads pending;
  for (int i = 0; i < 8; ++i) {
    auto name = std::to_string(i);
    auto part =
        write_line({{"path", name}, {"more", true}, {"upload", name}}, "x");
    REQUIRE(files.write(part, pending));
  }
  auto ninth =
      write_line({{"path", "9"}, {"more", true}, {"upload", "9"}}, "x");
  CHECK(files.write(ninth, pending).error().code == ec::too_large);
  pending.clear();
  CHECK(files.list({{"path", "."}})->at("entries").empty());
}

TEST_CASE("what is no regular file is neither read nor written") {
  test::temp_dir dir;
  file_service files{dir.path()};
  uploads pending;
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  std::string bytes;
  CHECK(files.read({{"path", "fifo"}}, bytes).error().code == ec::bad_request);
  auto to_fifo = write_line({{"path", "fifo"}}, "x");
  CHECK(files.write(to_fifo, pending).error().code == ec::bad_request);
  auto to_dir = write_line({{"path", "/"}}, "x");
  CHECK(files.write(to_dir, pending).error().code == ec::bad_request);
}

TEST_CASE("errors name the path, harmlessly") {
  test::temp_dir dir;
  file_service files{dir.path()};
  std::string bytes;
  auto got = files.read({{"path", "no\x1b[such"}}, bytes);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::not_found);
  CHECK(got.error().message.find("no\\x1B[such") != std::string::npos);
}

TEST_CASE("a removal does not follow links and says what stopped it") {
  test::temp_dir dir;
  file_service files{dir.path()};
  REQUIRE(::mkdir((dir / "kept").c_str(), 0755) == 0);
  test::write_file(dir / "kept/file", "x");
  REQUIRE(::mkdir((dir / "gone").c_str(), 0755) == 0);
  REQUIRE(::symlink("../kept", (dir / "gone/link").c_str()) == 0);
  auto work = files.remove({{"path", "gone"}, {"recursive", true}});
  REQUIRE(work);
  REQUIRE(*work);
  CHECK((*work)->step(std::chrono::steady_clock::now()
                      + std::chrono::seconds{10}));
  CHECK_FALSE((*work)->error());
  CHECK((*work)->removed() == 2);
  CHECK(test::read_file(dir / "kept/file") == "x");
  // The link to a directory itself, recursively: the link goes, no more.
  REQUIRE(::symlink("kept", (dir / "link").c_str()) == 0);
  auto link = files.remove({{"path", "link"}, {"recursive", true}});
  REQUIRE(link);
  CHECK_FALSE(*link);
  CHECK(test::read_file(dir / "kept/file") == "x");
  removal missing{dir / "missing"};
  CHECK(missing.step(std::chrono::steady_clock::now()));
  REQUIRE(missing.error());
  CHECK(missing.error()->message.find("missing") != std::string::npos);
}
