#include "cli/inside.hpp"

#include <cerrno>
#include <sstream>

#include "messages/text.hpp"

namespace caged::cli {

namespace {

constexpr std::size_t stderr_kept = 16 * 1024;
constexpr int not_found_exit = 127; // as a shell says it

/// $1 the path, $2 its parent. Prints one line, and the real path behind it.
constexpr const char* look_script = R"(
kind=missing link=no
if [ -d "$1" ]; then kind=directory
elif [ -f "$1" ]; then kind=file
elif [ -e "$1" ]; then kind=other
elif [ -L "$1" ]; then kind=dangling
elif [ ! -d "$2" ]; then kind=nowhere
fi
[ -L "$1" ] && link=yes
about=$(stat -L -c '%a %u:%g' -- "$1" 2>/dev/null)
printf '%s %s %s\n' "$kind" "$link" "$about"
if [ "$kind" = file ] && [ "$link" = yes ]; then readlink -f -n -- "$1"
else printf '%s' "$1"
fi
)";

/// $1 the temporary file, $2 the file, $3 its mode, $4 its owner. What is
/// interrupted leaves the old content, and no temporary file.
constexpr const char* write_script = R"(
trap 'rm -f -- "$1"' EXIT
trap 'exit 1' HUP INT TERM PIPE
umask 077
set -C
: > "$1" || exit 1
set +C
cat > "$1" || exit 1
chown -- "$4" "$1" && chmod -- "$3" "$1" && mv -f -- "$1" "$2"
)";

there there_of(const std::string& word) {
  if (word == "directory")
    return there::directory;
  if (word == "file")
    return there::file;
  if (word == "other")
    return there::other;
  if (word == "dangling")
    return there::dangling;
  return word == "nowhere" ? there::nowhere : there::missing;
}

} // namespace

std::vector<std::string> shell(const char* script,
                               std::vector<std::string> args) {
  std::vector<std::string> argv = {"sh", "-c", script, "caged"};
  for (auto& arg : args)
    argv.push_back(std::move(arg));
  return argv;
}

result<inside_output> run_inside(const inside& where,
                                 std::vector<std::string> argv,
                                 std::size_t most) {
  api::exec run;
  run.sandbox = where.sandbox;
  run.argv = std::move(argv);
  kept_bytes out{most}, err{stderr_kept};
  auto ended =
      run_exec(where.endpoint, std::move(run), {nullptr, out, err, true});
  if (!ended)
    return tl::unexpected<failure>(ended.error());
  if (out.cut())
    return fail(ec::too_large, "the sandbox answered with more than "
                                   + format_bytes(static_cast<double>(most)));
  return inside_output{std::move(*ended), out.bytes(), err.bytes()};
}

result<void> ended_well(const exec_end& end, const std::string& err,
                        const std::string& program, const std::string& what) {
  if (end.ended.code == 0)
    return {};
  if (end.interrupted != 0)
    return fail(ec::io, what + ": interrupted");
  if (end.ended.code == not_found_exit)
    return fail(ec::unsupported,
                what + ": the sandbox has no program " + quoted(program),
                "use a template that has it");
  // The last lines say why, the first ones may be warnings.
  auto text = err;
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  constexpr std::size_t kept = 300;
  if (text.size() > kept)
    text = "..." + text.substr(text.size() - kept);
  for (auto& c : text)
    c = c == '\n' ? ';' : c;
  if (text.empty())
    text = end.ended.signal != 0
               ? program + " was ended by signal "
                     + std::to_string(end.ended.signal)
               : program + " ended with " + std::to_string(end.ended.code);
  return fail(ec::io, what + ": " + text);
}

result<inside_file> look_inside(const inside& where, const std::string& path) {
  auto from = safe_path(strip_slashes(path));
  auto got =
      run_inside(where, shell(look_script, {from, safe_path(parent_of(from))}));
  if (!got)
    return tl::unexpected<failure>(got.error());
  auto what = where.sandbox + ":" + path + " cannot be looked at";
  if (auto well = ended_well(got->end, got->err, "sh", what); !well)
    return tl::unexpected<failure>(well.error());
  auto line_end = got->out.find('\n');
  if (line_end == std::string::npos)
    return fail(ec::malformed, what + ": its sh printed something else");
  std::istringstream line{got->out.substr(0, line_end)};
  inside_file about;
  std::string kind, link;
  line >> kind >> link >> about.mode >> about.owner;
  about.what = there_of(kind);
  about.link = link == "yes";
  about.real = got->out.substr(line_end + 1);
  return about;
}

result<exec_end> write_inside(const inside& where, const std::string& shown,
                              const std::string& path, const std::string& mode,
                              byte_source& from) {
  auto about = look_inside(where, path);
  if (!about)
    return tl::unexpected<failure>(about.error());
  if (about->what == there::directory)
    return fail(ec::bad_request, quoted(shown) + " is a directory",
                "name the file in it");
  auto target = choose_target(shown, path, about->what, "", false, false);
  if (!target)
    return tl::unexpected<failure>(target.error());
  constexpr std::size_t random = 12;
  auto real =
      about->what == there::file ? safe_path(about->real) : safe_path(path);
  auto beside = parent_of(real) + "/.caged-write-" + random_name(random);
  auto keep = about->what == there::file && !about->mode.empty();
  api::exec run;
  run.sandbox = where.sandbox;
  run.argv = shell(write_script,
                   {safe_path(beside), real,
                    !mode.empty() ? mode
                    : keep        ? about->mode
                                  : "644",
                    keep && !about->owner.empty() ? about->owner : "0:0"});
  kept_bytes out{0}, err{stderr_kept};
  auto ended =
      run_exec(where.endpoint, std::move(run), {&from, out, err, true});
  if (!ended)
    return ended;
  auto what = quoted(shown) + " cannot be written";
  if (ended->source_error != 0)
    return fail_errno(ec::io, what + ": stdin failed", ended->source_error);
  if (ended->interrupted == 0)
    if (auto well = ended_well(*ended, err.bytes(), "cat", what); !well)
      return tl::unexpected<failure>(well.error());
  return ended;
}

result<exec_end> read_inside(const inside& where, const std::string& shown,
                             const std::string& path, byte_sink& to) {
  api::exec run;
  run.sandbox = where.sandbox;
  run.argv = {"cat", "--", safe_path(path)};
  kept_bytes err{stderr_kept};
  auto ended =
      run_exec(where.endpoint, std::move(run), {nullptr, to, err, true});
  if (!ended)
    return ended;
  auto what = quoted(shown) + " cannot be read";
  if (ended->sink_error == EPIPE)
    return ended; // whoever read has enough
  if (ended->sink_error != 0)
    return fail_errno(ec::io, "what is read cannot be written",
                      ended->sink_error);
  if (ended->interrupted == 0)
    if (auto well = ended_well(*ended, err.bytes(), "cat", what); !well)
      return tl::unexpected<failure>(well.error());
  return ended;
}

} // namespace caged::cli
