#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/call.hpp"
#include "mcp/tools/file_common.hpp"
#include "mcp/tools/remove_tree.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

tool_result removed(const workspace& where, const std::string& path,
                    mode_t mode, std::uint64_t entries) {
  const std::string type = type_name(mode);
  tool_result out;
  out.text = "Deleted " + type + " " + valid_utf8(path);
  if (entries > 1)
    out.text += " with " + std::to_string(entries - 1)
                + (entries == 2 ? " entry in it" : " entries in it");
  out.structured = {{"path", valid_utf8(*where.relative(path))},
                    {"type", type},
                    {"removed", entries}};
  return out;
}

result<tool_result> run(const workspace& where, const arguments& args,
                        call& in) {
  const auto path = args.text("path");
  const auto recursive = args.flag("recursive", false);
  if (auto good = args.done(); !good)
    return tl::unexpected{std::move(good.error())};
  auto at = where.parent_of(path);
  if (!at)
    return tl::unexpected{std::move(at.error())};
  const int folder = at->folder.get();
  const auto* name = at->name.c_str();
  struct stat about {
  }, root{};
  if (::fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
    return path_error(path, errno);
  // parent_of knows it by its text; this by what it is.
  if (::fstat(where.root_fd(), &root) == 0 && root.st_dev == about.st_dev
      && root.st_ino == about.st_ino)
    return fail(ec::bad_request,
                caged::quoted(path) + " is the workspace itself",
                "delete what is in it, by name");
  if (!S_ISDIR(about.st_mode)) {
    // No other kind of thing can be removed by this, whatever took its place.
    if (::unlinkat(folder, name, 0) != 0)
      return path_error(path, errno);
    return removed(where, path, about.st_mode, 1);
  }
  if (recursive) {
    const auto entries = remove_tree(folder, at->name, path, in);
    if (!entries)
      return tl::unexpected{entries.error()};
    return removed(where, path, about.st_mode, *entries);
  }
  if (::unlinkat(folder, name, AT_REMOVEDIR) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST)
      return fail(ec::conflict,
                  "the folder " + caged::quoted(path) + " is not empty",
                  "set recursive to true to delete it with all that is in it");
    return path_error(path, errno);
  }
  return removed(where, path, about.st_mode, 1);
}

constexpr const char* description =
    "Deletes a file, link or empty folder of the workspace; with recursive "
    "also a folder and all that is in it. A link is removed itself, never what "
    "it points to. The workspace itself cannot be deleted, and what does not "
    "exist is an error.";

} // namespace

void add_file_delete(tool_set& tools, const workspace& where,
                     const server_config&) {
  tool t;
  t.name = "file_delete";
  t.title = "Delete file or folder";
  t.description = description;
  t.input_schema = [] {
    return object_schema(
        {{"path", property("string", "File, link or folder, relative to the "
                                     "workspace or absolute beneath it")},
         {"recursive",
          {{"type", "boolean"},
           {"default", false},
           {"description", "Delete a folder with all that is in it"}}}},
        {"path"});
  };
  t.output_schema = [] {
    return object_schema(
        {{"path", property("string", "Relative to the workspace")},
         {"type",
          property("string", "file, folder, link, fifo, socket or device")},
         {"removed", property("integer", "Entries removed, with itself")}},
        {"path", "type", "removed"});
  };
  t.annotations.destructive = true;
  t.annotations.idempotent = true;
  t.writes = true;
  t.run = [&where](const arguments& args, call& in) {
    return run(where, args, in);
  };
  tools.add(std::move(t));
}

} // namespace caged::mcp
