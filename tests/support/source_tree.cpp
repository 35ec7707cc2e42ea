#include "tests/support/source_tree.hpp"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "tests/support/process.hpp"

namespace caged::test {

namespace fs = std::filesystem;

std::string source_file(const std::string& path) {
  const char* given = std::getenv("CAGED_SOURCE_DIR");
  const auto root =
      given ? fs::path{given} : fs::absolute(bin_dir()) / ".." / ".." / "..";
  const auto file = (root / path).lexically_normal();
  if (!fs::exists(file))
    throw std::runtime_error{"there is no " + file.string()
                             + "; set CAGED_SOURCE_DIR to the source tree"};
  return file.string();
}

} // namespace caged::test
