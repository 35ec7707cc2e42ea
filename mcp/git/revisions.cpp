#include "mcp/git/revisions.hpp"

#include "mcp/git/repository.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

tl::unexpected<failure> no_revision(const std::string& text) {
  return fail(ec::not_found, "there is no revision " + caged::quoted(text),
              "name a branch, a tag, a commit id, HEAD or HEAD~2; git_log "
              "shows commits");
}

} // namespace

result<revisions> parse_revisions(git_repository* repository,
                                  const std::string& text) {
  // libgit2 would take "" for HEAD and "-x" for a name.
  if (text.empty() || text[0] == '-' || text.size() > 1024)
    return fail(ec::bad_request, caged::quoted(text) + " is no revision",
                "name a branch, a tag, a commit id or a range A..B");
  git_revspec spec{};
  if (const int rc = git_revparse(&spec, repository, text.c_str()); rc != 0) {
    if (rc == GIT_ENOTFOUND || rc == GIT_EINVALIDSPEC)
      return no_revision(text);
    return git_failure("find the revision " + caged::quoted(text), rc);
  }
  revisions found;
  if ((spec.flags & GIT_REVSPEC_SINGLE) != 0) {
    *found.to.put() = spec.from;
  } else {
    *found.from.put() = spec.from;
    *found.to.put() = spec.to;
    found.merge_base = (spec.flags & GIT_REVSPEC_MERGE_BASE) != 0;
  }
  if (!found.to)
    return no_revision(text);
  return found;
}

result<commit_ptr> commit_of(const object_ptr& object,
                             const std::string& text) {
  object_ptr peeled;
  if (const int rc =
          git_object_peel(peeled.put(), object.get(), GIT_OBJECT_COMMIT);
      rc != 0)
    return git_failure("find a commit at " + caged::quoted(text), rc);
  commit_ptr commit;
  git_commit_lookup(commit.put(), git_object_owner(peeled.get()),
                    git_object_id(peeled.get()));
  if (!commit)
    return git_failure("read the commit at " + caged::quoted(text), GIT_ERROR);
  return commit;
}

result<tree_ptr> tree_of(const object_ptr& object, const std::string& text) {
  object_ptr peeled;
  if (const int rc =
          git_object_peel(peeled.put(), object.get(), GIT_OBJECT_TREE);
      rc != 0)
    return git_failure("find files at " + caged::quoted(text), rc);
  tree_ptr tree;
  git_tree_lookup(tree.put(), git_object_owner(peeled.get()),
                  git_object_id(peeled.get()));
  if (!tree)
    return git_failure("read the files at " + caged::quoted(text), GIT_ERROR);
  return tree;
}

result<commit_ptr> head_commit(git_repository* repository) {
  git_oid id{};
  commit_ptr commit;
  int rc = git_reference_name_to_id(&id, repository, "HEAD");
  if (rc == GIT_ENOTFOUND)
    return commit; // a branch without commits
  if (rc == 0)
    rc = git_commit_lookup(commit.put(), repository, &id);
  if (rc != 0)
    return git_failure("read the commit of HEAD", rc);
  return commit;
}

} // namespace caged::mcp::git
