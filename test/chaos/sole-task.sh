# A task that must never run twice: it tells a shared file when it starts, that it lives, and when it stops.
# sh sole-task.sh FILE BEATS; it ends by itself after so many beats of 0.1 s. One short write each: lines are whole, and in the
# order in which they were written.
file=$1 beats=$2
read -r since _ </proc/uptime
say() {
  read -r now _ </proc/uptime
  printf '%s %s %s %s-%s %s\n' "$1" "$ORCH_SLOT" "$ORCH_TASK" "$$" "$since" "$now" >>"$file"
}
trap 'say stop; exit 0' TERM
say start
while [ "$beats" -gt 0 ]; do
  sleep 0.1
  say beat
  beats=$((beats - 1))
done
say stop
