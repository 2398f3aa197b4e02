# Runs one component and ends it when its owner is gone, however the owner ended.
#
# usage: sh -c SCRIPT sh DIRECTORY PROGRAM [ARGUMENT...]
#
# stdin is a pipe whose only writer is the owner. Each line names a signal for the component; the end of
# the input means that the owner died: the component is killed, and the last supervisor of the control
# plane removes DIRECTORY. stdout says the component's process id, stderr is the component's log.
# The exit code is the component's.

directory=$1
shift
marker=$directory/running/$$
: >"$marker" || exit 126

exec 3<&0 </dev/null
"$@" >&2 3<&- &
component=$!

# The owner may die before it has read the process id.
trap '' PIPE

# A subshell reads, so that the shell itself can wait for (and thereby notice the end of) the component.
{
  while read -r signal <&3; do
    kill -s "$signal" "$component"
  done
  # From here on the shell below must not mistake this for a component that ended by itself.
  trap '' TERM
  kill -s KILL "$component"
} >/dev/null 2>&1 &
owner_watch=$!

echo "$component" 2>/dev/null
exec >/dev/null 3<&-

wait "$component"
code=$?

kill "$owner_watch" 2>/dev/null
if wait "$owner_watch" 2>/dev/null; then owner=gone; else owner=alive; fi

rm -f "$marker"
# rmdir succeeds for the last one only.
if [ "$owner" = gone ] && rmdir "$directory/running" 2>/dev/null; then
  rm -rf "$directory"
fi
exit "$code"
