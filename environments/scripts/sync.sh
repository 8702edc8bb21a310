#!/bin/sh
# Brings this environment's branch up to date with the hub's default branch: ./sync.sh
# Works with GAIA down; GAIA's own sync also fetches the source into the hub first. Leaves everything alone when your
# work is in the way. Exit codes: 0 up to date, 1 git failed, 4 your work is in the way.
case $0 in */*) root=${0%/*}/ ;; *) root=. ;; esac
CDPATH='' cd -P -- "$root" || exit 1
root=${PWD%/.gaia}
cd -- "$root" || exit 1
. ./.gaia/stage.sh

GIT_TERMINAL_PROMPT=0
export GIT_TERMINAL_PROMPT
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
git_() { git --git-dir=.git --work-tree=. "$@"; }

git_ fetch -q origin || fail 1 'The hub could not be fetched.' "Its address: $(git_ config --get remote.origin.url)"
upstream=$(git_ symbolic-ref -q --short refs/remotes/origin/HEAD) || fail 1 'The hub has no default branch.' 'Run: git remote set-head origin -a'
branch=$(git_ symbolic-ref -q --short HEAD) || fail 4 'No branch is checked out.' 'Check one out: git switch BRANCH'
for mark in MERGE_HEAD rebase-merge rebase-apply CHERRY_PICK_HEAD REVERT_HEAD; do
    [ ! -e ".git/$mark" ] || fail 4 'A merge or rebase waits to be ended.' 'Look at: git status'
done
if git_ merge-base --is-ancestor "$upstream" HEAD; then
    printf '%s has everything of %s.\n' "$branch" "$upstream"
    exit 0
fi
if [ -n "$(git_ status --porcelain --untracked-files=no)" ]; then
    git_ status --short --untracked-files=no >&2
    fail 4 'There are uncommitted changes.' 'Commit them (git commit -a) or put them aside (git stash), then run this again.'
fi
if git_ merge-base --is-ancestor HEAD "$upstream"; then
    git_ merge -q --ff-only "$upstream" || fail 1 "$branch could not follow $upstream." 'What git said is above.'
    printf '%s has followed %s to %s.\n' "$branch" "$upstream" "$(git_ rev-parse --short HEAD)"
elif output=$(git_ merge -q --no-edit "$upstream" 2>&1); then
    printf '%s has merged %s: %s.\n' "$branch" "$upstream" "$(git_ rev-parse --short HEAD)"
else
    conflicts=$(git_ diff --name-only --diff-filter=U)
    [ ! -e .git/MERGE_HEAD ] || git_ merge --abort
    printf '%s\n' "${conflicts:-$output}" >&2
    fail 4 "$upstream does not merge into $branch by itself; nothing was changed." "Merge it by hand: git merge $upstream"
fi
