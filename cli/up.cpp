#include <iostream>

#include <unistd.h>

#include "cli/endpoint.hpp"
#include "cli/exec.hpp"
#include "cli/values.hpp"
#include "cli/verbs.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// A first use may build its template, an init script may install things.
constexpr auto up_deadline = std::chrono::minutes(5);

/// Flags to a specification that the node will take, or the reason why not.
result<sandbox_spec> make_spec(up_options& what) {
  auto spec = std::move(what.spec);
  if (!what.memory.empty()) {
    auto memory = parse_memory_mb(what.memory);
    if (!memory)
      return tl::unexpected<failure>(memory.error());
    spec.memory_mb = *memory;
  }
  if (!what.disk.empty()) {
    auto disk = parse_disk_gb(what.disk);
    if (!disk)
      return tl::unexpected<failure>(disk.error());
    spec.disk_gb = *disk;
  }
  auto network = network_mode_from_string(what.network);
  if (!network)
    return fail(ec::bad_request,
                "the network mode " + caged::quoted(what.network)
                    + " is unknown",
                "use none; full and allowlist come later");
  spec.network = *network;
  auto env = collect_env(what.env_files, what.env);
  if (!env)
    return tl::unexpected<failure>(env.error());
  env->merge(spec.env);
  spec.env = std::move(*env);
  auto labels = parse_labels(what.labels);
  if (!labels)
    return tl::unexpected<failure>(labels.error());
  labels->merge(spec.labels);
  spec.labels = std::move(*labels);
  for (auto [text, to] : {std::pair{&what.timeout, &spec.idle_timeout},
                          std::pair{&what.ttl, &spec.ttl}})
    if (!text->empty()) {
      auto span = parse_duration(*text);
      if (!span)
        return tl::unexpected<failure>(span.error());
      *to = *span;
    }
  if (!what.init_script.empty()) {
    auto script = read_text_file(what.init_script, limits::init_script_max);
    if (!script)
      return tl::unexpected<failure>(script.error());
    spec.init_script = std::move(*script);
  }
  if (auto good = validate(spec); !good)
    return tl::unexpected<failure>(good.error());
  return spec;
}

} // namespace

result<sandbox_info> make_sandbox(const common_options& with, up_options what) {
  auto spec = make_spec(what);
  if (!spec)
    return tl::unexpected<failure>(spec.error());
  auto require = parse_labels(what.require_flags);
  if (!require)
    return tl::unexpected<failure>(require.error());
  require->merge(what.require);
  bool talks = ::isatty(STDERR_FILENO) == 1;
  sandbox_info made;
  auto done = call(with.endpoint,
                   api::up{std::move(*spec), what.node, std::move(*require)},
                   up_deadline, [&](api::reply_body& reply) {
                     if (auto* step = std::get_if<api::up_progress>(&reply)) {
                       if (talks)
                         std::cerr << escape_text(step->step) << "\n";
                       return verdict::more;
                     }
                     auto* up = std::get_if<api::up_reply>(&reply);
                     if (!up)
                       return verdict::more;
                     made = std::move(up->sandbox);
                     return verdict::done;
                   });
  if (!done)
    return tl::unexpected<failure>(done.error());
  return made;
}

result<int> run_up(const common_options& with, up_options what) {
  auto command = std::move(what.command);
  auto sandbox = make_sandbox(with, std::move(what));
  if (!sandbox)
    return tl::unexpected<failure>(sandbox.error());
  const auto& made = *sandbox;
  if (made.init_state == 2)
    std::cerr << "caged: the init script of " << escape_text(made.id)
              << " ended badly\nhint: caged logs " << escape_text(made.id)
              << " shows its output\n";
  if (command.empty()) {
    std::cout << (with.as == format::table ? escape_text(made.id) + "\n"
                                           : show(made, with.as));
    return 0;
  }
  // stdout is the command's alone.
  std::cerr << escape_text(made.id) << "\n";
  exec_options run;
  run.sandbox = made.id;
  run.command = std::move(command);
  return run_exec_verb(with, std::move(run));
}

} // namespace caged::cli
