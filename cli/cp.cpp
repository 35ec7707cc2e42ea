#include "cli/cp.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/copy_paths.hpp"
#include "cli/inside.hpp"
#include "cli/progress.hpp"
#include "cli/staging.hpp"
#include "cli/tar_pack.hpp"
#include "cli/tar_unpack.hpp"
#include "cli/worker.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

using place = copy_end::place;

constexpr std::size_t stderr_kept = 16 * 1024;

there look_here(const std::string& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) == 0)
    return S_ISDIR(about.st_mode)   ? there::directory
           : S_ISREG(about.st_mode) ? there::file
                                    : there::other;
  if (::lstat(path.c_str(), &about) == 0)
    return there::dangling;
  if (::stat(parent_of(path).c_str(), &about) != 0 || !S_ISDIR(about.st_mode))
    return there::nowhere;
  return there::missing;
}

/// Exit code of a transfer whose end is no error: 0, or for our signal.
int code_of(const exec_end& end) {
  return end.interrupted != 0 ? 128 + end.interrupted
                              : (end.sink_error == EPIPE ? 1 : 0);
}

class copier {
public:
  copier(const common_options& with, const cp_options& what, copy_end dst,
         bool several)
      : with_{with}, what_{what}, dst_{std::move(dst)}, several_{several} {}

  result<int> upload(const copy_end& src);
  result<int> download(const copy_end& src);

private:
  inside at(const copy_end& end) const { return {with_.endpoint, end.sandbox}; }
  result<int> upload_tree(const copy_end& src);
  result<int> upload_stdin();
  result<void> check_kind(const copy_end& src, const copy_target& target,
                          bool directory) const;
  result<exec_end> send(const copy_end& src, bool quiet,
                        const std::string& directory,
                        const std::function<void(int)>& archive_to);
  result<int> download_tree(const copy_end& src, const inside_file& about);
  result<int> download_to(const copy_end& src, int fd);
  result<exec_end> fetch(const copy_end& src, bool directory,
                         const std::string& into);

  const common_options& with_;
  const cp_options& what_;
  copy_end dst_;
  bool several_;
};

// -- into a sandbox ----------------------------------------------------------

result<int> copier::upload_stdin() {
  descriptor_source from{STDIN_FILENO};
  progress shown{to_text(dst_), what_.quiet};
  counted_source counted{from, shown};
  auto done = write_inside(at(dst_), to_text(dst_), dst_.path, {}, counted);
  if (!done)
    return tl::unexpected<failure>(done.error());
  return code_of(*done);
}

/// Where tar would find something of another kind, it says less.
result<void> copier::check_kind(const copy_end& src, const copy_target& target,
                                bool directory) const {
  // Archives hold any name, arguments do not.
  if (target.name.empty() || !is_utf8(target.name))
    return {};
  auto path = target.directory + "/" + target.name;
  auto is = look_inside(at(dst_), path);
  if (!is)
    return tl::unexpected<failure>(is.error());
  bool on_directory = is->what == there::directory;
  bool free = is->what == there::missing || (!directory && !on_directory);
  if (free || (directory && on_directory))
    return {};
  return fail(ec::bad_request,
              quoted(to_text(src)) + " cannot overwrite "
                  + quoted(dst_.sandbox + ":" + path) + ", which is "
                  + (directory ? "no directory" : "a directory"));
}

result<int> copier::upload_tree(const copy_end& src) {
  auto shown = to_text(src);
  struct stat about {};
  bool follow = names_directory(src.path);
  auto path = strip_slashes(src.path);
  if ((follow ? ::stat(path.c_str(), &about) : ::lstat(path.c_str(), &about))
      != 0) {
    int error = errno;
    return fail_errno(error == ENOENT ? ec::not_found : ec::io,
                      quoted(shown) + " cannot be read", error);
  }
  bool directory = S_ISDIR(about.st_mode);
  if (follow && !directory)
    return fail(ec::bad_request, quoted(shown) + " is no directory");
  auto about_dst = look_inside(at(dst_), dst_.path);
  if (!about_dst)
    return tl::unexpected<failure>(about_dst.error());
  auto to_file = about_dst->what == there::file && !names_directory(dst_.path)
                     ? about_dst->real
                     : dst_.path; // what a link leads to, not the link
  auto target = choose_target(to_text(dst_), to_file, about_dst->what,
                              last_name(src.path), directory, several_);
  if (!target)
    return tl::unexpected<failure>(target.error());
  if (auto right = check_kind(src, *target, directory); !right)
    return tl::unexpected<failure>(right.error());
  result<pack_report> packed;
  pack_options pack{path, target->name, follow, what_.archive};
  auto sent = send(src, what_.quiet, target->directory,
                   [&](int to) { packed = tar_pack(to, pack); });
  if (sent && packed && !packed->restless.empty() && sent->interrupted == 0)
    sent = send(src, true, target->directory, [&](int to) {
      (void)tar_pack_again(to, pack, *packed); // tar says when it fails
    });
  if (!sent)
    return tl::unexpected<failure>(sent.error());
  if (sent->interrupted != 0)
    return code_of(*sent);
  if (!packed)
    return tl::unexpected<failure>(packed.error());
  int code = 0;
  for (const auto& problem : packed->problems)
    code = exit_code_of(failure{ec::io, problem, {}}, false);
  return code;
}

/// Feeds a tar there with what is written to a pipe here.
result<exec_end> copier::send(const copy_end& src, bool quiet,
                              const std::string& directory,
                              const std::function<void(int)>& archive_to) {
  pipe_pair pipe;
  worker packing{[&] {
    archive_to(pipe.write_end());
    pipe.close_write();
  }};
  api::exec run;
  run.sandbox = dst_.sandbox;
  run.argv = {"tar", "-xpf", "-", "-C", safe_path(directory)};
  kept_bytes out{0}, err{stderr_kept};
  auto ended = [&] {
    descriptor_source from{pipe.read_end()};
    progress line{to_text(src), quiet};
    counted_source counted{from, line};
    return run_exec(with_.endpoint, std::move(run), {&counted, out, err, true});
  }();
  pipe.close_read();
  packing.join();
  if (!ended || ended->interrupted != 0)
    return ended;
  auto what =
      quoted(to_text(src)) + " cannot be copied to " + quoted(to_text(dst_));
  if (auto well = ended_well(*ended, err.bytes(), "tar", what); !well)
    return tl::unexpected<failure>(well.error());
  return ended;
}

result<int> copier::upload(const copy_end& src) {
  return src.where == place::stream ? upload_stdin() : upload_tree(src);
}

// -- out of a sandbox --------------------------------------------------------

result<int> copier::download_to(const copy_end& src, int fd) {
  descriptor_sink to{fd};
  // Bytes and a progress line do not mix on a terminal.
  progress shown{to_text(src), what_.quiet || ::isatty(fd) == 1};
  counted_sink counted{to, shown};
  auto done = read_inside(at(src), to_text(src), src.path, counted);
  if (!done)
    return tl::unexpected<failure>(done.error());
  return code_of(*done);
}

/// Runs tar there and unpacks what it sends here.
result<exec_end> copier::fetch(const copy_end& src, bool directory,
                               const std::string& into) {
  auto path = safe_path(strip_slashes(src.path));
  api::exec run;
  run.sandbox = src.sandbox;
  run.argv = {"tar",
              "-cf",
              "-",
              "-C",
              directory ? path : parent_of(path),
              directory ? "." : "./" + last_name(path)};
  unpack_options unpack{into, directory ? std::string{} : last_name(path),
                        directory, what_.archive && ::geteuid() == 0};
  pipe_pair pipe;
  result<void> unpacked;
  worker unpacking{[&] {
    unpacked = tar_unpack(pipe.read_end(), unpack);
    pipe.close_read(); // tar learns that nobody wants the rest
  }};
  kept_bytes err{stderr_kept};
  auto ended = [&] {
    descriptor_sink to{pipe.write_end()};
    // Only the sink's own descriptor may hold the pipe open.
    progress line{to_text(src), what_.quiet};
    counted_sink counted{to, line};
    return run_exec(with_.endpoint, std::move(run),
                    {nullptr, counted, err, true});
  }();
  pipe.close_write();
  unpacking.join();
  if (!ended || ended->interrupted != 0)
    return ended;
  auto what = quoted(to_text(src)) + " cannot be copied";
  // Our own refusal ended tar, not the other way round.
  if (!unpacked && ended->sink_error != 0)
    return tl::unexpected<failure>(unpacked.error());
  auto well = ended_well(*ended, err.bytes(), "tar", what);
  if (!well && (!unpacked || ended->ended.code < 0 || !directory))
    return tl::unexpected<failure>(well.error());
  if (!unpacked)
    return tl::unexpected<failure>(unpacked.error());
  return ended;
}

result<int> copier::download_tree(const copy_end& src,
                                  const inside_file& about) {
  bool directory = about.what == there::directory
                   && (!about.link || names_directory(src.path));
  auto here = look_here(strip_slashes(dst_.path));
  if (here == there::other && !directory && !several_ && !about.link) {
    // A device or FIFO takes the bytes; it is not replaced.
    int fd = ::open(dst_.path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
      return fail_errno(ec::io, quoted(dst_.path) + " cannot be opened", errno);
    auto done = download_to(src, fd);
    ::close(fd);
    return done;
  }
  auto to = dst_.path;
  if (here == there::file && !names_directory(to)) {
    std::unique_ptr<char, decltype(&::free)> real{
        ::realpath(to.c_str(), nullptr), &::free};
    if (real)
      to = real.get(); // what a link leads to, not the link
  }
  auto target = choose_target(dst_.path, to, here, last_name(src.path),
                              directory, several_);
  if (!target)
    return tl::unexpected<failure>(target.error());
  auto stage = staging::make(target->directory);
  if (!stage)
    return tl::unexpected<failure>(stage.error());
  auto fetched = fetch(src, directory, stage->path());
  if (!fetched)
    return tl::unexpected<failure>(fetched.error());
  if (fetched->interrupted != 0)
    return code_of(*fetched);
  auto copy = stage->path() + "/" + unpacked_name;
  auto moved = target->name.empty()
                   ? move_contents(copy, target->directory)
                   : move_into(copy, target->directory + "/" + target->name);
  if (!moved)
    return tl::unexpected<failure>(moved.error());
  if (fetched->ended.code == 0)
    return 0;
  return fail(ec::io, "the copy of " + quoted(to_text(src))
                          + " is not complete: tar "
                          + "in the sandbox ended with "
                          + std::to_string(fetched->ended.code));
}

result<int> copier::download(const copy_end& src) {
  if (dst_.where == place::stream)
    return download_to(src, STDOUT_FILENO);
  auto about = look_inside(at(src), src.path);
  if (!about)
    return tl::unexpected<failure>(about.error());
  auto shown = quoted(to_text(src));
  if (about->what == there::missing || about->what == there::nowhere)
    return fail(ec::not_found, shown + " does not exist");
  if (names_directory(src.path) && about->what != there::directory)
    return fail(ec::bad_request, shown + " is no directory");
  if (about->what == there::other && !about->link)
    return fail(ec::bad_request, shown + " is neither a file nor a directory");
  return download_tree(src, *about);
}

result<void> check(const std::vector<copy_end>& sources, const copy_end& dst) {
  auto count = [&](place where) {
    return std::count_if(sources.begin(), sources.end(),
                         [&](const auto& s) { return s.where == where; });
  };
  bool in = dst.where == place::inside;
  if (in == (count(place::inside) > 0)
      || (!in && count(place::inside) != std::ssize(sources)))
    return fail(ec::bad_request,
                in ? "both sides are in sandboxes"
                   : "no side, or not every source, is in a sandbox",
                "one side is SANDBOX:PATH, the other one local; a local name "
                "with a colon is written ./a:b");
  if (sources.size() > 1
      && (count(place::stream) > 0 || dst.where == place::stream))
    return fail(ec::bad_request, "\"-\" goes with one source and one file");
  return {};
}

} // namespace

result<int> run_cp(const common_options& with, const cp_options& what) {
  if (what.paths.size() < 2)
    return fail(ec::bad_request, "cp needs a source and a destination",
                "caged cp notes.txt web:/workspace");
  std::vector<copy_end> sources;
  for (const auto& path : what.paths)
    sources.push_back(parse_copy_end(path));
  auto dst = sources.back();
  sources.pop_back();
  if (auto right = check(sources, dst); !right)
    return tl::unexpected<failure>(right.error());
  held_signals held;
  copier copying{with, what, dst, sources.size() > 1};
  // Each for itself: one that fails leaves the others to be copied.
  int code = 0;
  for (const auto& src : sources) {
    auto done = dst.where == place::inside ? copying.upload(src)
                                           : copying.download(src);
    if (done && *done > 128)
      return done; // a signal
    code = std::max(code, done ? *done : exit_code_of(done.error(), false));
  }
  return code;
}

} // namespace caged::cli
