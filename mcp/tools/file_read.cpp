#include <algorithm>
#include <cerrno>
#include <climits>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include "mcp/encode.hpp"
#include "mcp/open_beneath.hpp"
#include "mcp/tools/file_common.hpp"
#include "mcp/tools/file_lines.hpp"
#include "mcp/tools/file_piece.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::int64_t line_most = 1'000'000'000'000;
/// A file up to here is read on the spot when its inode is in memory: a worker
/// costs more than the read. Bytes.
constexpr off_t quick_most = 64 * 1024;

result<read_request> parse(const arguments& args) {
  read_request out;
  out.path = args.text("path");
  out.offset = args.optional_integer("offset", 1, line_most);
  out.limit = args.optional_integer("limit", 1, line_most);
  out.byte_offset = args.optional_integer("byte_offset", 0, LLONG_MAX / 2);
  out.byte_limit = args.optional_integer("byte_limit", 1, LLONG_MAX / 2);
  out.encoding = args.choice("encoding", {"auto", "utf-8", "base64"}, "auto");
  out.line_numbers = args.flag("line_numbers", false);
  if (auto good = args.done(); !good)
    return tl::unexpected{std::move(good.error())};
  if (out.by_lines() && out.by_bytes())
    return fail(ec::bad_request,
                "offset and limit count lines, byte_offset and byte_limit "
                "count bytes: only one of the two can be used",
                "leave one pair out");
  if (out.encoding == "base64" && (out.by_lines() || out.line_numbers))
    return fail(ec::bad_request, "base64 has no lines",
                "use byte_offset and byte_limit, or encoding utf-8");
  if (out.by_bytes() && out.line_numbers)
    return fail(ec::bad_request, "a range of bytes has no line numbers",
                "use offset and limit");
  return out;
}

std::string numbered(std::string_view text, std::int64_t line) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const auto end = std::min(text.find('\n', at), text.size() - 1) + 1;
    auto number = std::to_string(line);
    if (number.size() < 6)
      out.append(6 - number.size(), ' ');
    out += number;
    out += '\t';
    out += text.substr(at, end - at);
    at = end;
  }
  return out;
}

/// Whether auto means base64: as git tells, a NUL among the first 8,000 bytes
/// makes a binary file.
bool is_binary(std::string_view bytes) {
  return bytes.substr(0, 8000).find('\0') != std::string_view::npos;
}

std::string notice(const piece& p, const std::string& next,
                   const std::string& path) {
  return "\n[the file goes on behind byte " + std::to_string(p.end())
         + ", which is all that one call shows: call file_read with path "
         + caged::quoted(path) + " and " + next + " for what follows]";
}

result<tool_result> tell(const workspace& where, const server_config& config,
                         const read_request& wanted, const struct stat& about,
                         piece p) {
  const bool valid = wanted.encoding == "base64" || is_utf8(p.bytes);
  const bool base64 =
      wanted.encoding == "base64"
      || (!valid && wanted.encoding == "auto" && is_binary(p.bytes));
  if (base64 && (wanted.by_lines() || wanted.line_numbers))
    return fail(ec::bad_request,
                caged::quoted(wanted.path) + " is a binary file, without lines",
                "read it without offset, limit and line_numbers, or with "
                "encoding utf-8");
  if (base64) {
    cut_to(p, config.limits.output_bytes / 4 * 3, false);
    p.mid_line = true;
  }
  tool_result out;
  encoded_object told;
  told.add("path", *where.relative(wanted.path));
  told.add("size", static_cast<std::uint64_t>(about.st_size));
  told.add("encoding", base64 ? "base64" : "utf-8");
  told.add("version", file_version(about));
  told.add("truncated", p.more);
  if (!base64 && !valid)
    told.add("lossy", true);
  const bool lines = !base64 && !wanted.by_bytes();
  const auto count = lines ? count_lines(p.bytes) : 0;
  if (lines) {
    told.add("first_line", static_cast<std::uint64_t>(p.first_line));
    told.add("lines", static_cast<std::uint64_t>(count));
  } else {
    told.add("byte_offset", p.from);
    told.add("bytes", std::uint64_t{p.bytes.size()});
  }
  std::string next;
  if (p.more && lines && !p.mid_line) {
    const auto line = static_cast<std::uint64_t>(p.first_line + count);
    told.add("next_offset", line);
    next = "offset " + std::to_string(line);
  } else if (p.more) {
    told.add("next_byte_offset", p.end());
    next = "byte_offset " + std::to_string(p.end());
  }
  // A model that sees the text alone must learn that it is not all.
  const auto behind = p.cut ? notice(p, next, wanted.path) : std::string{};
  if (base64)
    out.text = base64_encode(p.bytes);
  else if (wanted.line_numbers)
    out.text = numbered(p.bytes, p.first_line);
  else
    out.text = std::move(p.bytes);
  if (behind.empty()) {
    out.text_member = "content";
  } else {
    told.add("content", out.text);
    out.text += behind;
  }
  out.structured = json::object();
  out.encoded_members = told.take();
  return out;
}

result<tool_result> run(const workspace& where, const server_config& config,
                        const arguments& args, call& in) {
  auto wanted = parse(args);
  if (!wanted)
    return tl::unexpected{std::move(wanted.error())};
  auto fd = where.open_at(wanted->path, O_RDONLY);
  if (!fd)
    return tl::unexpected{std::move(fd.error())};
  struct stat about {};
  if (::fstat(fd->get(), &about) != 0)
    return path_error(wanted->path, errno);
  if (auto good = must_be_file(wanted->path, about); !good)
    return tl::unexpected{std::move(good.error())};
  const auto size = static_cast<std::uint64_t>(about.st_size);
  if (!wanted->by_lines() && !wanted->by_bytes()
      && size > config.limits.file_bytes)
    return fail(ec::too_large,
                caged::quoted(wanted->path) + " has " + std::to_string(size)
                    + " bytes; at most "
                    + std::to_string(config.limits.file_bytes)
                    + " are read at once",
                "read a part of it: offset and limit (lines), or byte_offset "
                "and byte_limit; file_search finds the place");
  auto most = config.limits.output_bytes;
  if (wanted->encoding == "base64")
    most = most / 4 * 3;
  auto got = read_piece(fd->get(), *wanted, about, most, in);
  if (!got)
    return tl::unexpected{std::move(got.error())};
  return tell(where, config, *wanted, about, std::move(*got));
}

/// For a whole file that is small, when the kernel has all that finding it
/// takes in memory (RESOLVE_CACHED, Linux 5.12): nothing here waits for a disk
/// or for another file system.
std::optional<result<tool_result>> run_at_once(const workspace& where,
                                               const server_config& config,
                                               const arguments& args) {
  const auto& object = args.object();
  if (!object.is_object() || object.size() != 1)
    return std::nullopt;
  const auto path = object.find("path");
  if (path == object.end() || !path->is_string())
    return std::nullopt;
  read_request wanted;
  wanted.path = path->get_ref<const std::string&>();
  wanted.encoding = "auto";
  const auto name = where.relative(wanted.path);
  if (!name)
    return std::nullopt;
  const owned_fd fd{open_beneath(where.root_fd(), name->c_str(),
                                 O_RDONLY | O_NOCTTY | O_NONBLOCK, 0,
                                 RESOLVE_CACHED | RESOLVE_NO_XDEV)};
  struct stat about {};
  if (!fd || ::fstat(fd.get(), &about) != 0 || !S_ISREG(about.st_mode)
      || about.st_size == 0 || about.st_size > quick_most)
    return std::nullopt;
  auto got = read_whole(fd.get(), wanted, about, config.limits.output_bytes);
  if (!got)
    return std::nullopt;
  return tell(where, config, wanted, about, std::move(*got));
}

constexpr const char* description =
    "Reads a file of the workspace. With only a path it returns the file's "
    "text exactly as it is. For a part of it give offset (the first line, "
    "counted from 1) and limit (number of lines): also the way to read files "
    "that are too large for one call. line_numbers puts the number and a tab "
    "before each line. Files that are not text come as base64; byte_offset "
    "and byte_limit read a range of bytes. The version that comes back can be "
    "given to file_write or file_edit as expected_version, which then refuse "
    "to overwrite somebody else's change.";

} // namespace

void add_file_read(tool_set& tools, const workspace& where,
                   const server_config& config) {
  tool t;
  t.name = "file_read";
  t.title = "Read file";
  t.description = description;
  t.input_schema = [] {
    return object_schema(
        {{"path", property("string", "File, relative to the workspace or "
                                     "absolute beneath it")},
         {"offset",
          {{"type", "integer"},
           {"minimum", 1},
           {"description", "First line to read, counted from 1"}}},
         {"limit",
          {{"type", "integer"},
           {"minimum", 1},
           {"description", "Number of lines to read"}}},
         {"byte_offset",
          {{"type", "integer"},
           {"minimum", 0},
           {"description", "First byte to read, counted from 0; "
                           "not together with offset and limit"}}},
         {"byte_limit",
          {{"type", "integer"},
           {"minimum", 1},
           {"description", "Number of bytes to read"}}},
         {"encoding",
          {{"type", "string"},
           {"enum", {"auto", "utf-8", "base64"}},
           {"default", "auto"},
           {"description",
            "auto: text, or base64 when the file is binary. utf-8: always "
            "text; "
            "bytes that are not UTF-8 become U+FFFD. base64: the bytes."}}},
         {"line_numbers",
          {{"type", "boolean"},
           {"default", false},
           {"description", "Put \"number<tab>\" before each line; not part of "
                           "the file"}}}},
        {"path"});
  };
  t.output_schema = [] {
    return object_schema(
        {{"path", property("string", "Relative to the workspace")},
         {"content", property("string", "The text, or base64")},
         {"encoding", property("string", "utf-8 or base64")},
         {"size", property("integer", "Bytes of the whole file")},
         {"version", property("string", "State of the file, for "
                                        "expected_version")},
         {"truncated", property("boolean", "The file goes on behind content")},
         {"lossy", property("boolean", "Bytes that are no UTF-8 were replaced "
                                       "by U+FFFD: do not write this back")},
         {"first_line", property("integer", "Line number of the first line")},
         {"lines", property("integer", "Lines in content")},
         {"next_offset", property("integer", "offset of what follows")},
         {"byte_offset", property("integer", "First byte of content")},
         {"bytes", property("integer", "Bytes of the file in content")},
         {"next_byte_offset", property("integer", "byte_offset of what "
                                                  "follows")}},
        {"path", "content", "encoding", "size", "version", "truncated"});
  };
  t.annotations.read_only = true;
  t.annotations.idempotent = true;
  t.pace = tool_pace::brief;
  t.run = [&where, &config](const arguments& args, call& in) {
    return run(where, config, args, in);
  };
  t.at_once = [&where, &config](const arguments& args) {
    return run_at_once(where, config, args);
  };
  tools.add(std::move(t));
}

} // namespace caged::mcp
