# Process 1 of the namespaces that a node runs in. When it ends the kernel kills every other process in them, and with the last one
# the mounts and the network are gone.
#
# usage: sh -c SCRIPT sh PROGRAM [ARGUMENT...]
#
# stdin is a pipe whose only writer is the owner: its end means that the owner is gone or wants no more. The exit code is the
# program's.

exec 3<&0 </dev/null
trap 'exit 143' USR1

"$@" 3<&- &
program=$!
{
  read -r _ <&3
  kill -s USR1 1
} &
exec 3<&-

wait "$program"
exit $?
