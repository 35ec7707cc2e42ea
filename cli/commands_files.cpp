#include "cli/command_tree.hpp"

// cp and files.
namespace caged::cli {

void command_line::add_cp() {
  auto* sub = add(
      app, "cp", "copy files into a sandbox or out of it",
      [this] { return run_cp(common, cp); },
      "  caged cp notes.txt web:/workspace\n"
      "  caged cp web:/workspace/out/ .\n"
      "  caged cp src/. web:src\n"
      "  head -c 1M /dev/urandom | caged cp - web:/tmp/noise\n"
      "  caged cp web:/etc/passwd -\n"
      "One side is SANDBOX:PATH; PATH starts at the sandbox's workdir. "
      "Destinations are\nchosen as by cp -r; modes, times, symbolic and hard "
      "links are kept. What comes out\nof a sandbox is taken to be hostile: "
      "links that lead out of the copy and devices\nare refused, "
      "set-user-id bits are dropped. Exit code: 1 when something was not "
      "copied.");
  sub->add_option("paths", cp.paths,
                  "SRC... DST; - is stdin as source, stdout as destination")
      ->required();
  sub->add_flag("-a,--archive", cp.archive,
                "keep numeric owners (default: root inside, you outside)");
  sub->add_flag("-q,--quiet", cp.quiet, "no progress on the terminal");
}

void command_line::add_files() {
  auto* group =
      app.add_subcommand("files", "look at and change a sandbox's files");
  group->require_subcommand(1);
  auto reference = [this](CLI::App* to) {
    to->add_option("sandbox", files.sandbox, "id, name or unique prefix")
        ->required();
    return to;
  };
  auto path = [this](CLI::App* to) {
    return to->add_option("path", files.path, "from the sandbox's workdir");
  };
  path(reference(add(
           *group, "ls", "show a directory or file",
           [this] { return run_files_ls(common, files); },
           "  caged files ls web /etc\n  caged files ls web --format json")))
      ->capture_default_str();
  path(reference(add(
           *group, "cat", "print a file",
           [this] { return run_files_cat(common, files); },
           "  caged files cat web /etc/passwd")))
      ->required();
  auto* sub = reference(add(
      *group, "write", "write stdin to a file, all of it or nothing",
      [this] { return run_files_write(common, files); },
      "  echo hello | caged files write web greeting\n"
      "  caged files write web run.sh --mode 0755 < run.sh"));
  path(sub)->required();
  sub->add_option("--mode", files.mode,
                  "octal (default: as it is, 0644 for a new file)")
      ->check(CLI::Validator(
          [](const std::string& text) {
            constexpr std::size_t digits = 4;
            return text.empty() || text.size() > digits
                           || text.find_first_not_of("01234567") != text.npos
                       ? "a mode is octal, such as 0644"
                       : std::string{};
          },
          "MODE"));
  sub = reference(add(
      *group, "rm", "remove files",
      [this] { return run_files_rm(common, files); },
      "  caged files rm web old.txt\n  caged files rm -r web build"));
  sub->add_option("paths", files.paths, "from the sandbox's workdir")
      ->required();
  sub->add_flag("-r,--recursive", files.recursive, "directories, too");
}

} // namespace caged::cli
