#include <iostream>

#include "cli/app_tree.hpp"
#include "cli/command_tree.hpp"
#include "cli/completion.hpp"
#include "cli/reference.hpp"

namespace caged::cli {

void command_line::add_doctor() {
  add(
      app, "doctor", "look whether this host can run caged-node",
      [this] { return run_doctor(common, doctor); },
      "  sudo caged doctor\n"
      "  caged doctor --data-dir /srv/caged --format json\n"
      "Each line is ok, warn or bad, with what to do. Exit code: 1 when "
      "something is bad.")
      ->add_option("--data-dir", doctor.data_dir,
                   "where the node keeps its "
                   "files")
      ->capture_default_str()
      ->type_name("FILE");
}

void command_line::add_for_shells() {
  add(
      app, "completion", "print a script with which a shell completes caged",
      [this]() -> result<int> {
        std::cout << completion_script(describe(app), shell);
        return 0;
      },
      "  source <(caged completion bash)\n"
      "  caged completion zsh > \"${fpath[1]}/_caged\"\n"
      "  caged completion fish > ~/.config/fish/completions/caged.fish")
      ->add_option("shell", shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  auto* sub = add(
      app, "__complete", "candidates for those scripts",
      [this] { return run_complete(common); }, "");
  sub->group("");
  sub->add_option("what", what, "sandboxes")
      ->required()
      ->check(CLI::IsMember({"sandboxes"}));
  sub = add(
      app, "__docs", "the reference, for ops/docs",
      [this]() -> result<int> {
        auto tree = describe(app);
        if (what == "markdown") {
          std::cout << reference_markdown(tree);
        } else if (page.empty()) {
          for (const auto& name : manual_pages(tree))
            std::cout << name << "\n";
        } else {
          auto made = manual_page(tree, page);
          if (!made)
            return tl::unexpected<failure>(made.error());
          std::cout << *made;
        }
        return 0;
      },
      "");
  sub->group("");
  sub->add_option("what", what, "markdown or man")
      ->required()
      ->check(CLI::IsMember({"markdown", "man"}));
  sub->add_option("page", page, "a page of man (default: list them)");
}

} // namespace caged::cli
